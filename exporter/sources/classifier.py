"""The value that an export starts from: a Keras classifier, and what must be known of it to serve it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError, reason
from exporter.samples.samples import Samples, made_up_samples
from exporter.sources.model_inputs import ModelInputs, model_inputs
from exporter.writing.saved_model import exported_variables
from signatures import Backbone, Batching, ImageDecoding
from signatures.contract import names

ACTIVATIONS: Mapping[str, Any] = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}

# What a directory may be called on common file systems, in bytes.
_LONGEST_NAME = 255

# Keras keeps what every layer gave until the model has answered: of 16 pictures in MobileNetV2 that is over 1 GB.
_BATCH = 2


@dataclass(frozen=True)
class Classifier:
    """A Keras model with one output of N probabilities, and what must be known of it to serve it.

    Attributes:
        model: the model; its output is [B, N].
        name: what the server calls it.
        labels: the N labels, by index; by default their numbers.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`, or None where that is not
            known. Without it no picture files can be taken.
        samples: examples to validate the export with; by default they are made up.
        activation: "sigmoid" or "softmax", where the model's output is logits.
        max_image_pixels: width times height of the largest picture file that is decoded.
        untrained: whether its weights are random; every export then says so.

    Raises:
        ExportError: when the model is not one that can be served with a sparsified head.

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
        if len(self.name) > _LONGEST_NAME:
            raise ExportError(
                f"The model's name has {len(self.name)} characters, and names a directory: use at most {_LONGEST_NAME}."
            )
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise ExportError(f"The activation {self.activation!r} is not known: use {' or '.join(ACTIVATIONS)}.")
        if self.preprocessing is not None and self.preprocessing not in names.PREPROCESSINGS:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} is not known: use one of {', '.join(names.PREPROCESSINGS)}."
            )
        object.__setattr__(self, "samples", self._complete(self.samples))
        size = self._output_size()
        if not self.labels:
            object.__setattr__(self, "labels", tuple(map(str, range(size))))
        if len(self.labels) != size:
            raise ExportError(f"{len(self.labels)} labels were given for a model with {size} outputs.")
        if "" in self.labels:
            raise ExportError(f"Label {self.labels.index('')} is empty, which in an answer is no label: name it.")

    @cached_property
    def inputs(self) -> ModelInputs:
        """What the model takes."""
        return model_inputs(self.model)

    @cached_property
    def image_decoding(self) -> ImageDecoding | None:
        """How picture files become the model's input, for an image model whose preprocessing is known."""
        if self.preprocessing is None:
            return None
        specs = list(self.inputs.specs.values())
        if len(specs) != 1 or specs[0].shape.rank != 4 or None in specs[0].shape.as_list()[1:]:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} was given, but the model does not take pictures of one "
                "size: its inputs are " + ", ".join(f"{spec.name} {spec.shape}" for spec in specs) + "."
            )
        channels, possible = specs[0].shape[-1], (3,) if self.preprocessing in ("caffe", "torch") else (1, 3)
        if channels not in possible:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} was given, and takes pictures of "
                f"{' or '.join(map(str, possible))} channels; the model takes {channels}: leave it out, and the model "
                "is served without image signatures."
            )
        return ImageDecoding(self.preprocessing, self.max_image_pixels)

    def probabilities(self, *tensors: tf.Tensor) -> tf.Tensor:
        """The dense probabilities, float32 [B, N], of inputs in the order of `inputs.specs`."""
        scores = tf.ensure_shape(tf.cast(self._output(*tensors), tf.float32), [None, len(self.labels)])
        return scores if self.activation is None else ACTIVATIONS[self.activation](scores)

    def backbone(self, batching: Batching | None, jit_compile: bool) -> Backbone:
        """What the signatures are composed over."""
        return Backbone(
            self.probabilities, self.inputs.specs, self.inputs.id_bounds, self.image_decoding, batching, jit_compile
        )

    def weight_bytes(self) -> int:
        """The bytes that the variables take which are exported."""
        return sum(value.dtype.size * value.shape.num_elements() for value in exported_variables(self.model))

    def dense_answers(self, samples: Samples) -> npt.NDArray[np.float32]:
        """What Keras answers for samples, [S, N].

        Raises:
            ExportError: when that is not probabilities.
        """
        dense = self.answers(samples)
        if len(broken := np.argwhere(np.isnan(dense))):
            raise ExportError(f"The model answers NaN for sample {broken[0][0]}: it is broken.")
        # Rounding may take a softmax a little past 1.
        if dense.min() < -1e-6 or dense.max() > 1 + 1e-6:
            raise ExportError(
                f"The model's outputs for the samples go from {dense.min():.4g} to {dense.max():.4g}, and "
                "probabilities from 0 to 1: if they are logits, pass --activation sigmoid or --activation softmax."
            )
        return dense

    def answers(self, samples: Samples) -> npt.NDArray[np.float32]:
        """What Keras answers for samples, [S, N], whatever it is.

        Raises:
            ExportError: when the model fails.
        """
        batches = (self._called(self.probabilities, batch) for batch in samples.batches(_BATCH))
        return np.concatenate([keras.ops.convert_to_numpy(answer) for answer in batches])

    def _called(self, function: Callable[..., Any], samples: Samples) -> Any:
        try:
            return function(*self._tensors(samples))
        except ExportError:
            raise
        except Exception as error:  # Layers raise many kinds, of Keras's, of TensorFlow's and of their own.
            advice = "pass --samples with what it takes" if samples.made_up else "see what it takes"
            if not getattr(self.model, "inputs", None):
                advice = (
                    "a subclassed model does not say of what type its inputs are, and float32 was sent; wrap it, "
                    "keras.Model(x, model(x)) with x = keras.Input(SHAPE, dtype=TYPE)"
                )
            samples_are = "made-up samples" if samples.made_up else "the samples"
            raise ExportError(f"The model fails for {samples_are}: {reason(error)}; {advice}.") from error

    def _complete(self, samples: Samples) -> Samples:
        """Check samples, and make up what is missing."""
        if not len(samples):
            return made_up_samples(self.inputs, self.image_decoding)
        samples = samples.fitted(self.inputs)
        for name, bound in self.inputs.id_bounds.items():
            ids = samples.inputs[name]
            if len(wrong := np.argwhere((ids < 0) | (ids >= bound))):
                raise ExportError(
                    f"The samples hold {name} = {ids[tuple(wrong[0])]} in sample {wrong[0][0]}; the model's embedding "
                    f"has the ids 0 to {bound - 1}."
                )
        if self.image_decoding and not samples.images:
            return replace(samples, stand_ins=made_up_samples(self.inputs, self.image_decoding))
        return samples

    def _tensors(self, samples: Samples) -> list[tf.Tensor]:
        return [tf.constant(samples.inputs[name], spec.dtype) for name, spec in self.inputs.specs.items()]

    def _output(self, *tensors: tf.Tensor) -> tf.Tensor:
        """What the model answers; a list or a dict may hold it."""
        outputs = keras.tree.flatten(self.inputs.call(*tensors))
        if len(outputs) != 1:
            raise ExportError(f"The model has {len(outputs)} outputs; a classifier has one, of shape [B, N].")
        return outputs[0]

    def _output_size(self) -> int:
        """N; a trial run tells it, as a subclassed model declares none."""
        samples = self.samples.repeated(2)
        output = self._called(self._output, samples)
        if len(output.shape) != 2 or not output.shape[1] or output.shape[0] != len(samples):
            sizes = [
                "B" if size == len(samples) and not place else str(size) for place, size in enumerate(output.shape)
            ]
            raise ExportError(
                f"The model's output for {len(samples)} examples has the shape [{', '.join(sizes)}]; a classifier's is "
                "[B, N], N scores an example."
            )
        if not (output.dtype.is_floating or output.dtype.is_integer or output.dtype.is_bool):
            raise ExportError(f"The model's output is of type {output.dtype.name}; a classifier's scores are numbers.")
        if not np.array_equal(output, self._called(self._output, samples), equal_nan=True):
            raise ExportError(
                "The model answers the same samples differently each time: let its layers draw random numbers in "
                "training only."
            )
        size = int(output.shape[1])
        if (length := samples.longest(self.inputs.specs)) and (other := self._size_at(length + 1)) not in (None, size):
            raise ExportError(
                f"The model answers {size} scores for an input of length {length} and {other} for one of {length + 1}; "
                "a classifier's N is the same for every request."
            )
        return size

    def _size_at(self, length: int) -> int | None:
        """N for inputs of another length; None for a length that the model does not take."""
        resized = self.samples.repeated(1).of_length(length, self.inputs.specs)
        try:
            return int(self._called(self._output, resized).shape[-1])
        except ExportError:
            return None
