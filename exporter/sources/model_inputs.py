"""What a Keras model takes: names, shapes and types of its inputs, however it was built."""

import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError
from signatures.contract import names

# The names that Keras makes up itself: they count the layers made so far in the process, and tell a caller nothing.
_MADE_UP = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")

_OF_WORDS = (keras.layers.StringLookup, keras.layers.TextVectorization)
_ENTRIES = 100

# What a request holds beside the model's inputs, or in their place.
_RESERVED = {
    names.K: "the number of labels to keep",
    names.MIN_SCORE: "the least score to keep",
    names.ENCODED_IMAGES: "picture files",
}

# What TensorFlow leaves as it is in the names of a function's arguments.
_ARGUMENT = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass(frozen=True)
class ModelInputs:
    """A model's inputs, and how to call it with them.

    Attributes:
        specs: shape and type by name, in the order that `call` takes them; [B, ...] each.
        id_bounds: for an input that goes straight into an embedding, how many ids that has.
        call: calls the model, not training, with one tensor for each of `specs`.
        values: for an input that goes straight into a lookup, words or numbers that it tells apart; for every other one
            of strings, those of all lookups.
    """

    specs: Mapping[str, tf.TensorSpec]
    id_bounds: Mapping[str, int]
    call: Callable[..., Any]
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)


def model_inputs(model: Any) -> ModelInputs:
    """Find the inputs of a Sequential or functional model, or of a subclassed one that was called once.

    A lone picture input, [B, H, W, C], is always called "images"; others are called as the model calls them, where a
    person chose the name.

    Raises:
        ExportError: when the model has never been called, or calls an input as a request calls something else.

    Example:
        >>> model_inputs(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])).specs
        {'inputs': TensorSpec(shape=(None, 4), dtype=tf.float32, name='inputs')}
    """
    tensors = getattr(model, "inputs", None)
    if tensors:
        return _declared(model, tensors)
    if getattr(model, "_build_shapes_dict", None):
        return _as_built(model)
    raise ExportError("The model has no declared inputs: call it once on data, or build it with keras.Input.")


def _declared(model: Any, tensors: Sequence[Any]) -> ModelInputs:
    # A list or a dict, even of one. A Sequential model has none.
    structure = tensors[0] if isinstance(model, keras.Sequential) else model.input
    specs = _named([(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors])

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
    """The layers that an input goes straight into, those of models inside the model too."""
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
    """The first entries of a lookup's vocabulary, as they are the most frequent ones, and values that are not in it."""
    known: list[Any] = layer.get_vocabulary(include_special_tokens=False)[:_ENTRIES]
    if refuses_unknown(layer):
        return known
    return [*known, 0, 1] if isinstance(layer, keras.layers.IntegerLookup) else [*known, "word0", "word1"]


def refuses_unknown(layer: Any) -> bool:
    """Whether a layer fails for words or numbers that are not in its vocabulary."""
    return getattr(layer, "num_oov_indices", None) == 0 and not layer.invert


def _as_built(model: Any) -> ModelInputs:
    """The inputs of a subclassed model, of the shapes that it was first called with.

    Keras keeps these by argument of `call`; an argument may be a structure of several tensors. It keeps no types.

    Raises:
        ExportError: when the model has layers of strings.
    """
    if of_words := [layer.name for layer in model._flatten_layers() if isinstance(layer, _OF_WORDS)]:
        raise ExportError(
            f"The model takes strings, in its layer {of_words[0]}, and a subclassed model does not say which of its "
            "inputs they are: wrap it, keras.Model(x, model(x)) with x = keras.Input(SHAPE, dtype='string')."
        )
    shapes = {argument.removesuffix("_shape"): shape for argument, shape in model._build_shapes_dict.items()}
    paths = [(argument, path, shape) for argument, nested in shapes.items() for path, shape in _leaves(nested)]
    dtype = getattr(model, "input_dtype", None) or "float32"
    specs = _named(
        [
            (_joined(argument if len(shapes) > 1 or not path else "", path), shape, dtype)
            for argument, path, shape in paths
        ]
    )

    def call(*values: tf.Tensor) -> Any:
        left = iter(values)
        arguments = [_filled(nested, left) for nested in shapes.values()]
        return model(*arguments, training=False) if _takes_training(model) else model(*arguments)

    return ModelInputs(specs, {}, call)


def _named(inputs: Sequence[tuple[str, Sequence[int | None], str]]) -> dict[str, tf.TensorSpec]:
    specs: dict[str, tf.TensorSpec] = {}
    for position, (given, shape, dtype) in enumerate(inputs):
        name = re.sub(r"\W", "_", given)
        if len(inputs) == 1 and len(shape) == 4:
            name = names.IMAGES
        elif _MADE_UP.fullmatch(name):
            name = "inputs" if len(inputs) == 1 else f"input_{position}"
        # TensorFlow takes names that differ in their case alone for one.
        if name.lower() in _RESERVED:
            raise ExportError(
                f"The model calls an input {name!r}, and a request calls {_RESERVED[name.lower()]} so: rename it."
            )
        if name.lower() in map(str.lower, specs):
            raise ExportError(f"Two of the model's inputs are called {name!r}, upper case or lower: rename one.")
        if not _ARGUMENT.fullmatch(name) or keyword.iskeyword(name) or name == "self":
            raise ExportError(
                f"The model's input name {given!r} cannot be an argument's name: rename it, with a letter from A to Z "
                "first, then letters, digits and '_', and no word of Python's own."
            )
        specs[name] = tf.TensorSpec([None, *shape[1:]], dtype, name=name)
    return specs


def _leaves(nested: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], tuple[int | None, ...]]]:
    if isinstance(nested, Mapping):
        for key, value in nested.items():
            yield from _leaves(value, (*path, str(key)))
    elif nested and not all(isinstance(size, int | None) for size in nested):
        for position, value in enumerate(nested):
            yield from _leaves(value, (*path, str(position)))
    else:
        yield path, tuple(nested)


def _filled(nested: Any, values: Iterator[tf.Tensor]) -> Any:
    """The same structure with a tensor in each shape's place."""
    if isinstance(nested, Mapping):
        return {key: _filled(value, values) for key, value in nested.items()}
    if nested and not all(isinstance(size, int | None) for size in nested):
        return [_filled(value, values) for value in nested]
    return next(values)


def _joined(argument: str, path: tuple[str, ...]) -> str:
    name = "_".join([argument, *path] if argument else path)
    return f"input_{name}" if name.isdigit() else name


def _takes_training(model: Any) -> bool:
    return "training" in inspect.signature(model.call).parameters
