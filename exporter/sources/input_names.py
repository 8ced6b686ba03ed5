"""The names of the model's inputs in a request: the model's own, if a person chose them."""

import keyword
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from exporter.errors import ExportError
from signatures.contract import names

# Names that Keras makes up: they count the layers created in the process so far, and change from one run to the next.
_MADE_UP = re.compile(r"(?:keras_tensor|input_layer)(?:_\d+)?(?:CLONE)*|input_\d+")

# What a request may hold besides the model's inputs, or in their place.
_RESERVED = {
    names.K: "the number of labels to keep",
    names.MIN_SCORE: "the lowest score to keep",
    names.ENCODED_IMAGES: "image files",
}

# Argument names that TensorFlow does not change.
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def named_inputs(
    inputs: Sequence[tuple[str, Sequence[int | None], str]], renamed: Mapping[str, str]
) -> dict[str, tf.TensorSpec]:
    """Return the inputs, [B, ...] each, by the names that requests use.

    Args:
        inputs: for each input, its name in the model ("" if it has none), its shape and its dtype.
        renamed: new names for some of them, by the names that they would have.

    Raises:
        ExportError: if a request cannot use a name, or if `renamed` names an input that the model does not have.

    Example:
        >>> list(named_inputs([("keras_tensor_12", (None, 32, 32, 3), "float32")], {}))
        ['images']
        >>> list(named_inputs([("keras_tensor_12", (None, 32, 32, 3), "float32")], {"images": "photo"}))
        ['photo']
    """
    own = [_own_name(name, position, inputs) for position, (name, *_) in enumerate(inputs)]
    if unknown := [name for name in renamed if name not in own]:
        raise ExportError(
            f"--input-name renames {unknown[0]!r}, and the model's inputs are {', '.join(own)}: use one of these."
        )
    specs: dict[str, tf.TensorSpec] = {}
    for old, (_, shape, dtype) in zip(own, inputs, strict=True):
        name = renamed.get(old, old)
        _check(name, old, specs)
        specs[name] = tf.TensorSpec([None, *shape[1:]], dtype, name=name)
    return specs


def _own_name(given: str, position: int, inputs: Sequence[tuple[str, Sequence[int | None], str]]) -> str:
    if given and not _MADE_UP.fullmatch(given):
        return re.sub(r"\W", "_", given)
    if len(inputs) > 1:
        return f"input_{position}"
    return names.IMAGES if len(inputs[position][1]) == 4 else "inputs"


def _check(name: str, old: str, others: Mapping[str, tf.TensorSpec]) -> None:
    rename = f"rename it, as in --input-name {old}=NAME"
    # To TensorFlow, names that differ only in case are the same name.
    if name.lower() in _RESERVED:
        raise ExportError(
            f"The model's input name {name!r} is reserved for {_RESERVED[name.lower()]} in a request: {rename}."
        )
    if name.lower() in map(str.lower, others):
        raise ExportError(f"Two of the model's inputs are named {name!r}, in upper or lower case: {rename}.")
    if not _ARGUMENT.fullmatch(name) or keyword.iskeyword(name) or name == "self":
        raise ExportError(
            f"The model's input name {name!r} cannot name an argument: {rename}, with a letter from A to Z first, then "
            "letters, digits and '_'; Python's keywords and 'self' are not allowed."
        )
