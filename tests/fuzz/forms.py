"""How random models are put together: functional, Sequential, subclassed or nested, and what holds their inputs."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from .fields import SHORTEST, Field
from .heads import Head

# The model, its inputs in the order of their names in a request, those names, what packs tensors for a call, and words.
Formed = tuple[Any, Sequence[Field], Sequence[str], Callable[[Sequence[Any]], Any], str]


def formed(rng: np.random.Generator, fields: Sequence[Field], end: Head) -> Formed:
    """Draw a model that reads these inputs and ends so."""
    stackable = len(fields) == 1 and end.layers is not None
    form = rng.choice(["functional", "sequential", "subclassed", "nested"], p=[0.45, 0.25, 0.2, 0.1])
    if form == "sequential" and stackable and all(isinstance(step, keras.Layer) for step in fields[0].steps):
        return _sequential(rng, fields, end)
    if form == "subclassed":
        return _subclassed(rng, fields, end)
    return _functional(rng, fields, end, nested=form == "nested")


def _joined(fields: Sequence[Field], tensors: Sequence[Any], middle: Sequence[Any]) -> Any:
    read = [field.read(tensor) for field, tensor in zip(fields, tensors, strict=True)]
    joined = read[0] if len(read) == 1 else keras.ops.concatenate([keras.ops.cast(x, "float32") for x in read], axis=1)
    for layer in middle:
        joined = layer(joined)
    return joined


def _middle(rng: np.random.Generator) -> list[Any]:
    dropout, norm = keras.layers.Dropout(0.4), keras.layers.BatchNormalization()
    return [[], [keras.layers.Dense(6, activation="relu")], [norm], [keras.layers.Dense(5), dropout]][rng.integers(4)]


def _functional(rng: np.random.Generator, fields: Sequence[Field], end: Head, *, nested: bool) -> Formed:
    size = 4 if rng.random() < 0.06 else None
    tensors = [keras.Input(field.shape, size, name=field.name, dtype=field.dtype) for field in fields]
    middle = _middle(rng)
    if nested:
        inner_inputs = [keras.Input(field.shape, dtype=field.dtype) for field in fields]
        inner = keras.Model(inner_inputs, _joined(fields, inner_inputs, middle))
        output = end.finish(inner(tensors))
    else:
        output = end.finish(_joined(fields, tensors, middle))
    order, structure, words = _container(rng, fields, tensors)
    model = keras.Model(structure, output)

    def pack(values: Sequence[Any]) -> Any:
        return keras.tree.pack_sequence_as(structure, list(values)) if words != "bare" else values[0]

    ordered = [fields[place] for place in order]
    return model, ordered, _served([field.name for field in ordered], ordered), pack, _words(nested, words)


def _words(nested: bool, container: str) -> str:
    return f"{'nested' if nested else 'functional'} ({container})"


def _container(rng: np.random.Generator, fields: Sequence[Field], tensors: Sequence[Any]) -> tuple[list[int], Any, str]:
    """Draw what the model takes its inputs in; return their order in it, too."""
    everyone = list(range(len(fields)))
    choices = ["list", "dict", "tuple"] if len(fields) > 1 else ["bare", "bare", "bare", "list", "dict"]
    if len(fields) == 3:
        choices.append("nested dict")
    kind = str(rng.choice(choices))
    if kind == "bare":
        return everyone, tensors[0], kind
    if kind in ("list", "tuple"):
        return everyone, (list if kind == "list" else tuple)(tensors), kind
    keys = [tensor.name for tensor in tensors]
    if kind == "dict":
        return sorted(everyone, key=keys.__getitem__), dict(zip(keys, tensors, strict=True)), kind
    return everyone, {"": [tensors[0], tensors[1]], keys[2]: tensors[2]}, kind


def _sequential(rng: np.random.Generator, fields: Sequence[Field], end: Head) -> Formed:
    (field,) = fields
    layers = [*field.steps, *_middle(rng), *(end.layers or ())]
    if field.dtype == "float32" and None not in field.shape and rng.random() < 0.3:
        model = keras.Sequential(layers)
        model(field.values(rng, 2, SHORTEST))
        return model, fields, _served([None], fields), _bare, "sequential, called once"
    model = keras.Sequential([keras.Input(field.shape, name=field.name, dtype=field.dtype), *layers])
    return model, fields, _served([field.name], fields), _bare, "sequential"


def _bare(values: Sequence[Any]) -> Any:
    return values[0]


class Subclassed(keras.Model):
    """A model that tells Keras nothing of its inputs before it is called."""

    def __init__(self, fields: Sequence[Field], middle: Sequence[Any], end: Head, keys: Sequence[str] | None) -> None:
        super().__init__()
        self.layers_used = [step for field in fields for step in field.steps if isinstance(step, keras.Layer)]
        self.middle = list(middle)
        self.last = list(end.layers or ())
        self.parts = (fields, end, keys)

    def call(self, inputs: Any, training: bool = False) -> Any:
        fields, end, keys = self.parts
        tensors = [inputs[key] for key in keys] if keys else [inputs] if len(fields) == 1 else list(inputs)
        return end.finish(_joined(fields, tensors, self.middle))


def _subclassed(rng: np.random.Generator, fields: Sequence[Field], end: Head) -> Formed:
    # What it is first called with is all that is known of its shapes.
    fields = [
        replace(field, shape=tuple([size or SHORTEST for size in field.shape]), words=f"{field.words} called once")
        for field in fields
    ]
    steps = [step for field in fields if field.dtype == "string" for step in field.steps]
    if any(isinstance(step, keras.layers.Hashing) for step in steps):
        raise ValueError("hashes whatever it is given: nobody can know that it is meant for strings")
    keys = None
    if rng.random() < 0.4:
        fields = sorted(fields, key=lambda field: str(field.name))
        keys = [str(field.name) for field in fields]
    model = Subclassed(fields, _middle(rng), end, keys)

    def pack(values: Sequence[Any]) -> Any:
        if keys:
            return dict(zip(keys, values, strict=True))
        return values[0] if len(fields) == 1 else list(values)

    from .architectures import as_tensor

    model(pack([as_tensor(field.values(rng, 2, SHORTEST)) for field in fields]))
    served = _served(keys or [None] * len(fields), fields)
    return model, fields, served, pack, f"subclassed ({'dict' if keys else 'list'})"


def _served(called: Sequence[str | None], fields: Sequence[Field]) -> list[str]:
    """Return the names that requests use: what a person chose, as an identifier, or else the same for every run."""
    lone = "images" if len(fields[0].shape) == 3 else "inputs"
    made_up = re.compile(r"(keras_tensor|input_layer)(_\d+)?|input_\d+")
    return [
        re.sub(r"\W", "_", name)
        if name and not made_up.fullmatch(name)
        else lone
        if len(called) == 1
        else f"input_{place}"
        for place, name in enumerate(called)
    ]
