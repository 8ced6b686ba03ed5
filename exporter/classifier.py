"""The value that an export starts from: a Keras classifier, and what must be known of it to serve it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError
from signatures import names

ACTIVATIONS = ("sigmoid", "softmax")

# The names that Keras makes up itself: they count layers made so far in the process, and tell a caller nothing.
_MADE_UP = re.compile(r"(keras_tensor|input_layer|input)(_\d+)?")


@dataclass(frozen=True)
class Classifier:
    """A Keras model with one output of N probabilities, and what must be known of it to serve it.

    Attributes:
        model: the model; its output is [B, N].
        name: what the server shall call it.
        labels: the N labels, by index.
        preprocessing: how pixels become the model's input, or None where that is not known.
        samples: inputs to prove the export with, by input name, [S, ...] each.
        activation: "sigmoid" or "softmax", where the model's output is logits.

    Raises:
        ExportError: when the model is none that can be served with a sparsified head.

    Example:
        >>> classifier = Classifier(model, "digits", labels=("0", "1"), preprocessing="unit", samples={"images": x})
        >>> classifier.inputs
        {'images': TensorSpec(shape=(None, 32, 32, 1), dtype=tf.float32, name='images')}
    """

    model: Any
    name: str
    labels: tuple[str, ...]
    preprocessing: str | None
    samples: Mapping[str, npt.NDArray[Any]]
    activation: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name) or self.name == "deploy":
            raise ExportError(
                f"{self.name!r} cannot be a model's name: use letters, digits, '_', '.' and '-', beginning with a "
                "letter or digit, and not 'deploy', which is the folder of the server's files."
            )
        if len(self.labels) != (expected := output_size(self.model)):
            raise ExportError(f"{len(self.labels)} labels were given for a model with {expected} outputs.")
        if self.activation not in (None, *ACTIVATIONS):
            raise ExportError(f"The activation {self.activation!r} is not known: use {' or '.join(ACTIVATIONS)}.")

    @cached_property
    def inputs(self) -> dict[str, tf.TensorSpec]:
        """The model's inputs by name, in the order in which the model takes them."""
        return input_specs(self.model)

    def probabilities(self, *tensors: tf.Tensor) -> tf.Tensor:
        """The dense probabilities, float32 [B, N], of inputs in the order of `inputs`."""
        structure = self.model.input if len(tensors) > 1 else None
        inputs = keras.tree.pack_sequence_as(structure, tensors) if structure is not None else tensors[0]
        scores = tf.cast(self.model(inputs, training=False), tf.float32)
        if self.activation is None:
            return scores
        return tf.sigmoid(scores) if self.activation == "sigmoid" else tf.nn.softmax(scores)


def output_size(model: Any) -> int:
    """N of a model whose one output is [B, N].

    Raises:
        ExportError: for every other model.
    """
    shape = model.output_shape
    if isinstance(shape, Mapping) or (shape and not isinstance(shape[0], int | None)):
        raise ExportError(f"The model has {len(shape)} outputs; a classifier with one output of shape [B, N] is needed.")
    if len(shape) != 2 or not shape[1]:
        raise ExportError(
            f"The model's output has the shape {_readable(shape)}; a classifier's is [B, N], one row of N probabilities "
            "an example."
        )
    return int(shape[1])


def input_specs(model: Any) -> dict[str, tf.TensorSpec]:
    """Name the inputs of a model: as the model does, where a person chose the name.

    A lone picture input, [B, H, W, C], is always called "images".

    Raises:
        ExportError: when the model has no declared inputs, or calls one of them "k".
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise ExportError("The model has no declared inputs; call it once on data, or build it with keras.Input.")
    specs: dict[str, tf.TensorSpec] = {}
    for position, tensor in enumerate(tensors):
        name = re.sub(r"\W", "_", tensor.name)
        if len(tensors) == 1 and len(tensor.shape) == 4:
            name = names.IMAGES
        elif _MADE_UP.fullmatch(name):
            name = "inputs" if len(tensors) == 1 else f"input_{position}"
        if name == names.K:
            raise ExportError("The model calls one of its inputs 'k', which is the number of labels to keep: rename it.")
        if name in specs:
            raise ExportError(f"Two of the model's inputs are called {name!r}: rename one.")
        specs[name] = tf.TensorSpec([None, *tensor.shape[1:]], tensor.dtype, name=name)
    return specs


def synthetic_samples(specs: Mapping[str, tf.TensorSpec], count: int = 16) -> dict[str, npt.NDArray[Any]]:
    """Make up inputs for a model that comes without samples: seeded noise, the same every time.

    A dimension of no declared size gets 32. They can prove that an export answers as its model does, and say nothing
    of how well the model classifies.
    """
    generator = np.random.default_rng(0)
    samples: dict[str, npt.NDArray[Any]] = {}
    for name, spec in specs.items():
        shape = [count, *(size or 32 for size in spec.shape.as_list()[1:])]
        if spec.dtype.is_floating:
            samples[name] = generator.random(shape, np.float32).astype(spec.dtype.as_numpy_dtype)
        elif spec.dtype.is_integer:
            samples[name] = generator.integers(0, 2, shape).astype(spec.dtype.as_numpy_dtype)
        else:
            raise ExportError(f"No samples can be made up for the input {name!r} of type {spec.dtype.name}.")
    return samples


def _readable(shape: Any) -> str:
    return "[" + ", ".join("B" if i == 0 and n is None else str(n) for i, n in enumerate(shape)) + "]"
