"""The value that an export starts from: a Keras classifier, and what must be known of it to serve it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError, reason
from exporter.samples.samples import Samples
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
    """A Keras model with one output of N probabilities, and what must be known of it to serve it. It runs nothing.

    Attributes:
        model: the model; its output is [B, N].
        name: what the server calls it.
        labels: the N labels, by index; empty where `exporter.sources.examine` is to number them.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`, or None where that is not
            known. Without it no picture files can be taken.
        activation: "sigmoid" or "softmax", where the model's output is logits.
        max_image_pixels: width times height of the largest picture file that is decoded.
        untrained: whether its weights are random; every export then says so.
        sample_path: where the samples are that `export` reads when it is given none; see `exporter.samples.files`.

    Raises:
        ExportError: for a name, a label, an activation or a preprocessing that cannot be.

    Example:
        >>> Classifier(model, "digits", preprocessing="unit").inputs.specs
        {'images': TensorSpec(shape=(None, 32, 32, 1), dtype=tf.float32, name='images')}
    """

    model: Any
    name: str
    labels: tuple[str, ...] = ()
    preprocessing: str | None = None
    activation: str | None = None
    max_image_pixels: int = 64_000_000
    untrained: bool = False
    sample_path: Path | None = None

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
        scores = tf.ensure_shape(tf.cast(self._output(*tensors), tf.float32), [None, len(self.labels) or None])
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

    def outputs(self, samples: Samples) -> tf.Tensor:
        """What the model itself answers for samples, whatever its shape and type.

        Raises:
            ExportError: when the model fails, or has several outputs.
        """
        return self._called(self._output, samples)

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

    def _tensors(self, samples: Samples) -> list[tf.Tensor]:
        return [tf.constant(samples.inputs[name], spec.dtype) for name, spec in self.inputs.specs.items()]

    def _output(self, *tensors: tf.Tensor) -> tf.Tensor:
        """What the model answers; a list or a dict may hold it."""
        outputs = keras.tree.flatten(self.inputs.call(*tensors))
        if len(outputs) != 1:
            raise ExportError(f"The model has {len(outputs)} outputs; a classifier has one, of shape [B, N].")
        return outputs[0]
