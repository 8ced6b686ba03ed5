"""The outputs of a Keras model: which one holds the scores, and which others are served with it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError
from signatures.contract import names

# Names that the outputs of our signatures already have.
_RESERVED = (names.PROBABILITIES, names.DENSE_PROBABILITIES, names.INDICES, names.SCORES, names.LABELS)


def named_outputs(model: Any, answer: Any) -> dict[str, Any]:
    """Return the tensors of a model's answer by name.

    The names are the keys of a dict or the names that a person gave to the output layers. Any other is called
    "output_0" and so on, by its place, because the names that Keras makes up change from one run to the next.

    Args:
        model: the model.
        answer: its answer.

    Returns:
        The tensors, in the model's order.

    Example:
        >>> x = keras.Input((4,))
        >>> heads = keras.Model(x, [keras.layers.Dense(3)(x), keras.layers.Dense(2, name="color")(x)])
        >>> list(named_outputs(heads, heads(tf.zeros([1, 4]))))
        ['output_0', 'color']
    """
    found = keras.tree.flatten_with_path(answer)
    # A subclassed model declares no output layers.
    layers = [tensor._keras_history.operation for tensor in getattr(model, "outputs", None) or ()]
    given = [
        _name(path, place, layers[place] if len(layers) == len(found) else None)
        for place, (path, _) in enumerate(found)
    ]
    count = Counter(given)
    return {
        name if count[name] == 1 else f"output_{place}": tensor
        for place, (name, (_, tensor)) in enumerate(zip(given, found, strict=True))
    }


def chosen_outputs(outputs: Mapping[str, Any], output_name: str | None, also: Sequence[str]) -> list[tf.Tensor]:
    """Return the output that holds the scores, followed by those that are served with it.

    Raises:
        ExportError: when there are several outputs and none is chosen, or there is no output of that name.
    """
    listed = ", ".join(outputs)
    if output_name is None and len(outputs) > 1:
        raise ExportError(
            f"The model has the outputs {listed}: choose the one that holds the scores with --output-name NAME, and "
            "pass --also-output NAME for each that is to be served with it."
        )
    chosen = [next(iter(outputs)) if output_name is None else output_name, *also]
    for name in chosen:
        if name not in outputs:
            raise ExportError(f"The model has no output {name!r}: choose one of {listed}.")
        if not isinstance(outputs[name], tf.Tensor):
            raise ExportError(f"The output {name!r} is a {type(outputs[name]).__name__}, which no answer can hold.")
    for name in also:
        if name in _RESERVED:
            raise ExportError(
                f"The output {name!r} cannot be served with the scores: answers have one of that name already."
            )
    return [outputs[name] for name in chosen]


def _name(path: Sequence[str | int], place: int, layer: Any) -> str:
    if any(isinstance(key, str) for key in path):
        return "_".join(map(str, path))
    # Keras names a layer after its class, as in dense_3.
    if layer is None or re.sub(r"_\d+$", "", layer.name).replace("_", "") == type(layer).__name__.lower():
        return f"output_{place}"
    return str(layer.name)
