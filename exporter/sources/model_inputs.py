"""The names, shapes and types of a Keras model's inputs, however it was built."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError
from exporter.sources.input_names import named_inputs

_OF_WORDS = (keras.layers.StringLookup, keras.layers.TextVectorization)
_ENTRIES = 100
# Made-up words, unlikely to be in a vocabulary.
_UNKNOWN = ("word0", "word1")


@dataclass(frozen=True)
class ModelInputs:
    """A model's inputs, and how to call it with them.

    Attributes:
        specs: shape and type by name, in the order in which `call` takes them; each is [B, ...].
        id_bounds: for each input that goes straight into an embedding, the number of its ids.
        call: calls the model for inference, with one tensor for each of `specs`.
        values: for each input that goes straight into a lookup, words or numbers that the lookup tells apart; for any
            other string input, those of all lookups.
    """

    specs: Mapping[str, tf.TensorSpec]
    id_bounds: Mapping[str, int]
    call: Callable[..., Any]
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def bounds(self) -> dict[str, dict[str, Any]]:
        """What export.json says about inputs, so that a client can make some up: {"ids": N} or {"words": [...]}."""
        words = {
            name: [word for word in dict.fromkeys(values) if isinstance(word, str) and word not in _UNKNOWN]
            for name, values in self.values.items()
        }
        return {
            **{name: {"words": known} for name, known in words.items() if known},
            **{name: {"ids": count} for name, count in self.id_bounds.items()},
        }


def model_inputs(model: Any, renamed: Mapping[str, str] | None = None) -> ModelInputs:
    """Find the inputs of a Sequential or functional model, or of a subclassed model that was called once.

    They keep the names that the model's author chose. Where Keras made the names up, a single image input,
    [B, H, W, C], is named "images", any other single one "inputs", and several "input_0", "input_1" and so on.

    Args:
        model: the model.
        renamed: new names for some of the inputs, by the names above.

    Returns:
        The inputs, in the order in which the model takes them.

    Raises:
        ExportError: when a subclassed model has never been called, or an input's name is reserved or invalid.

    Example:
        >>> model_inputs(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])).specs
        {'inputs': TensorSpec(shape=(None, 4), dtype=tf.float32, name='inputs')}
    """
    tensors = getattr(model, "inputs", None)
    if tensors:
        return _declared(model, tensors, renamed or {})
    if getattr(model, "_build_shapes_dict", None):
        return _as_built(model, renamed or {})
    raise ExportError("The model has no declared inputs: call it once on data, or build it with keras.Input.")


def _declared(model: Any, tensors: Sequence[Any], renamed: Mapping[str, str]) -> ModelInputs:
    # A functional model may take a list or a dict, even of one input; a Sequential model takes the tensor itself.
    structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
    specs = named_inputs([(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors], renamed)

    def call(*values: tf.Tensor) -> Any:
        return model(keras.tree.pack_sequence_as(structure, list(values)), training=False)

    bounds: dict[str, int] = {}
    words = [word for layer in model._flatten_layers() if isinstance(layer, _OF_WORDS) for word in _values(layer)]
    values: dict[str, list[Any]] = {name: words for name, spec in specs.items() if spec.dtype == tf.string and words}
    for name, tensor in zip(specs, tensors, strict=True):
        for layer in _readers(model, tensor):
            if isinstance(layer, keras.layers.Embedding):
                bounds[name] = min(layer.input_dim, bounds.get(name, layer.input_dim))
            elif isinstance(layer, (*_OF_WORDS, keras.layers.IntegerLookup)):
                values[name] = _values(layer)
    return ModelInputs(specs, bounds, call, values)


def _readers(model: Any, tensor: Any) -> Iterator[Any]:
    """Yield the layers that an input goes straight into, also inside nested models."""
    for layer in model.layers:
        places = [
            place for node in layer._inbound_nodes for place, taken in enumerate(node.input_tensors) if taken is tensor
        ]
        for place in places:
            if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
                yield from _readers(layer, layer.inputs[place])
            else:
                yield layer


def _values(layer: Any) -> list[Any]:
    """Return the first, and so most frequent, entries of a lookup's vocabulary, and values that are not in it."""
    known: list[Any] = layer.get_vocabulary(include_special_tokens=False)[:_ENTRIES]
    if refuses_unknown(layer):
        return known
    return [*known, 0, 1] if isinstance(layer, keras.layers.IntegerLookup) else [*known, *_UNKNOWN]


def refuses_unknown(layer: Any) -> bool:
    """Return whether a layer fails for words or numbers that are not in its vocabulary."""
    return getattr(layer, "num_oov_indices", None) == 0 and not layer.invert


def _as_built(model: Any, renamed: Mapping[str, str]) -> ModelInputs:
    """Find the inputs of a subclassed model from the shapes that it was first called with.

    Keras stores shapes, but no types, by argument of `call`; an argument may be a structure of several tensors.

    Raises:
        ExportError: when the model has layers that take strings.
    """
    if of_words := [layer.name for layer in model._flatten_layers() if isinstance(layer, _OF_WORDS)]:
        raise ExportError(
            f"The model takes strings in its layer {of_words[0]}, but a subclassed model does not declare which "
            "inputs these are: wrap it, keras.Model(x, model(x)) with x = keras.Input(SHAPE, dtype='string')."
        )
    shapes = {argument.removesuffix("_shape"): shape for argument, shape in model._build_shapes_dict.items()}
    paths = [(argument, path, shape) for argument, nested in shapes.items() for path, shape in _leaves(nested)]
    dtype = getattr(model, "input_dtype", None) or "float32"
    # Keras names a single argument "input", whatever its author chose.
    specs = named_inputs(
        [(_join(argument if len(shapes) > 1 else "", path), shape, dtype) for argument, path, shape in paths], renamed
    )

    def call(*values: tf.Tensor) -> Any:
        left = iter(values)
        arguments = [_fill(nested, left) for nested in shapes.values()]
        takes_training = "training" in inspect.signature(model.call).parameters
        return model(*arguments, training=False) if takes_training else model(*arguments)

    return ModelInputs(specs, {}, call)


def _leaves(nested: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[int | None, ...]]]:
    if isinstance(nested, Mapping):
        for key, value in nested.items():
            yield from _leaves(value, (*path, str(key)))
    elif nested and not all(isinstance(size, int | None) for size in nested):
        for position, value in enumerate(nested):
            yield from _leaves(value, (*path, str(position)))
    else:
        yield path, tuple(nested)


def _fill(nested: Any, values: Iterator[tf.Tensor]) -> Any:
    """Return the same structure with a tensor in place of each shape."""
    if isinstance(nested, Mapping):
        return {key: _fill(value, values) for key, value in nested.items()}
    if nested and not all(isinstance(size, int | None) for size in nested):
        return [_fill(value, values) for value in nested]
    return next(values)


def _join(argument: str, path: tuple[str, ...]) -> str:
    name = "_".join([argument, *path] if argument else path)
    return f"input_{name}" if name.isdigit() else name
