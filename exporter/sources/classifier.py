"""The value that an export starts from: a Keras classifier, and what must be known of it to serve it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError
from exporter.samples.samples import Samples, made_up_samples
from exporter.sources.model_inputs import ModelInputs, model_inputs
from exporter.writing.saved_model import exported_variables
from signatures import Backbone, Batching, ImageDecoding
from signatures.contract import names

ACTIVATIONS: Mapping[str, Any] = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}

# Keras keeps what every layer gave until the model has answered: of 16 pictures in MobileNetV2 that is over 1 GB.
_BATCH = 2


@dataclass(frozen=True)
class Classifier:
    """A Keras model with one output of N probabilities, and what must be known of it to serve it.

    Attributes:
        model: the model; its output is [B, N].
        name: what the server shall call it.
        labels: the N labels, by index; by default their numbers.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`, or None where that is not
            known. Without it no picture files can be taken.
        samples: examples to prove the export with; by default they are made up.
        activation: "sigmoid" or "softmax", where the model's output is logits.
        max_image_pixels: width times height of the largest picture file that is decoded.
        untrained: whether its weights are random; every export then says so.

    Raises:
        ExportError: when the model is none that can be served with a sparsified head.

    Example:
        >>> Classifier(model, "digits", preprocessing="unit").inputs.specs
        {'images': TensorSpec(shape=(None, 32, 32, 1), dtype=tf.float32, name='images')}
    """

    model: Any
    name: str
    labels: tuple[str, ...] = ()
    preprocessing: str | None = None
    samples: Samples = field(default_factory=lambda: Samples({}))
    activation: str | None = None
    max_image_pixels: int = 64_000_000
    untrained: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name) or self.name == "deploy":
            raise ExportError(
                f"{self.name!r} cannot be a model's name: use letters, digits, '_', '.' and '-', beginning with a "
                "letter or digit, and not 'deploy', which is the folder of the server's files."
            )
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise ExportError(f"The activation {self.activation!r} is not known: use {' or '.join(ACTIVATIONS)}.")
        if self.preprocessing is not None and self.preprocessing not in names.PREPROCESSINGS:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} is not known: use one of {', '.join(names.PREPROCESSINGS)}."
            )
        if not len(self.samples):
            object.__setattr__(self, "samples", made_up_samples(self.inputs, self.pictures))
        size = self._output_size()
        if not self.labels:
            object.__setattr__(self, "labels", tuple(map(str, range(size))))
        if len(self.labels) != size:
            raise ExportError(f"{len(self.labels)} labels were given for a model with {size} outputs.")

    @cached_property
    def inputs(self) -> ModelInputs:
        """What the model takes."""
        return model_inputs(self.model)

    @cached_property
    def pictures(self) -> ImageDecoding | None:
        """How picture files become the model's input, for an image model whose preprocessing is known."""
        if self.preprocessing is None:
            return None
        specs = list(self.inputs.specs.values())
        if len(specs) != 1 or specs[0].shape.rank != 4 or None in specs[0].shape.as_list()[1:]:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} was given, but the model does not take pictures of one "
                "size: its inputs are " + ", ".join(f"{spec.name} {spec.shape}" for spec in specs) + "."
            )
        return ImageDecoding(self.preprocessing, self.max_image_pixels)

    def probabilities(self, *tensors: tf.Tensor) -> tf.Tensor:
        """The dense probabilities, float32 [B, N], of inputs in the order of `inputs.specs`."""
        scores = tf.cast(self.inputs.call(*tensors), tf.float32)
        return scores if self.activation is None else ACTIVATIONS[self.activation](scores)

    def backbone(self, batching: Batching | None, jit_compile: bool) -> Backbone:
        """What the signatures are composed over."""
        return Backbone(
            self.probabilities, self.inputs.specs, self.inputs.id_bounds, self.pictures, batching, jit_compile
        )

    def weight_bytes(self) -> int:
        """The bytes that the variables take which are exported."""
        return sum(value.dtype.size * value.shape.num_elements() for value in exported_variables(self.model))

    def dense_answers(self, samples: Samples) -> npt.NDArray[np.float32]:
        """What Keras answers for samples, [S, N].

        Raises:
            ExportError: when that is not probabilities.
        """
        dense = np.concatenate([self._answer(batch) for batch in samples.batches(_BATCH)])
        if len(broken := np.argwhere(np.isnan(dense))):
            raise ExportError(f"The model answers NaN for sample {broken[0][0]}: it is broken.")
        # Rounding may take a softmax a little past 1.
        if dense.min() < -1e-6 or dense.max() > 1 + 1e-6:
            raise ExportError(
                f"The model's outputs for the samples go from {dense.min():.4g} to {dense.max():.4g}, and "
                "probabilities from 0 to 1: if they are logits, pass --activation sigmoid or --activation softmax."
            )
        return dense

    def _answer(self, samples: Samples) -> npt.NDArray[np.float32]:
        tensors = [tf.constant(samples.inputs[name], spec.dtype) for name, spec in self.inputs.specs.items()]
        answer: npt.NDArray[np.float32] = keras.ops.convert_to_numpy(self.probabilities(*tensors))
        return answer

    def _output_size(self) -> int:
        """N; a trial run tells it, as a subclassed model declares none."""
        sample = self.samples.rows(0, 1)
        output = self.inputs.call(
            *(tf.constant(sample.inputs[name], spec.dtype) for name, spec in self.inputs.specs.items())
        )
        if isinstance(output, Mapping | list | tuple):
            raise ExportError(f"The model has {len(output)} outputs; a classifier has one, of shape [B, N].")
        if len(output.shape) != 2 or not output.shape[1]:
            sizes = ", ".join(["B", *map(str, output.shape[1:])])
            raise ExportError(
                f"The model's output has the shape [{sizes}]; a classifier's is [B, N], N scores an example."
            )
        return int(output.shape[1])
