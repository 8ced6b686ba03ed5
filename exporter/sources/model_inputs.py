"""What a Keras model takes: names, shapes and types of its inputs, however it was built."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError
from signatures.contract import names

# The names that Keras makes up itself: they count the layers made so far in the process, and tell a caller nothing.
_MADE_UP = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")


@dataclass(frozen=True)
class ModelInputs:
    """A model's inputs, and how to call it with them.

    Attributes:
        specs: shape and type by name, in the order that `call` takes them; [B, ...] each.
        id_bounds: for an input that goes straight into an embedding, how many ids that has.
        call: calls the model, not training, with one tensor for each of `specs`.
    """

    specs: Mapping[str, tf.TensorSpec]
    id_bounds: Mapping[str, int]
    call: Callable[..., Any]


def model_inputs(model: Any) -> ModelInputs:
    """Find the inputs of a Sequential or functional model, or of a subclassed one that was called once.

    A lone picture input, [B, H, W, C], is always called "images"; others are called as the model calls them, where a
    person chose the name.

    Raises:
        ExportError: when the model has never been called, or calls an input "k".

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
    structure = model.input if isinstance(model, keras.Model) and len(tensors) > 1 else None
    specs = _named([(tensor.name, tensor.shape, tensor.dtype) for tensor in tensors])

    def call(*values: tf.Tensor) -> Any:
        inputs = values[0] if structure is None else keras.tree.pack_sequence_as(structure, list(values))
        return model(inputs, training=False)

    bounds: dict[str, int] = {}
    for layer in model.layers:
        if isinstance(layer, keras.layers.Embedding):
            for name, tensor in zip(specs, tensors, strict=True):
                if any(tensor is taken for node in layer._inbound_nodes for taken in node.input_tensors):
                    bounds[name] = min(layer.input_dim, bounds.get(name, layer.input_dim))
    return ModelInputs(specs, bounds, call)


def _as_built(model: Any) -> ModelInputs:
    """The inputs of a subclassed model, of the shapes that it was first called with.

    Keras keeps these by argument of `call`; an argument may be a structure of several tensors.
    """
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
        if name == names.K:
            raise ExportError(
                "The model calls an input 'k', which names the number of labels to keep in a request: rename it."
            )
        if name in specs:
            raise ExportError(f"Two of the model's inputs are called {name!r}: rename one.")
        if not name.isidentifier():
            raise ExportError(f"The model's input name {given!r} cannot be an argument's name: rename it.")
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
