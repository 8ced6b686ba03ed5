"""The value that an export starts from: a Keras classifier and what serving needs to know about it."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
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
from exporter.sources.model_outputs import chosen_outputs, named_outputs
from exporter.writing.saved_model import exported_variables
from signatures import Backbone, Batching, ImageDecoding
from signatures.contract import names

ACTIVATIONS: Mapping[str, Any] = {"sigmoid": tf.sigmoid, "softmax": tf.nn.softmax}

# The most bytes of layers' outputs in one call of the model, and the most examples.
_CALL_BYTES = 64_000_000
_MOST_AT_ONCE = 32

# The longest directory name that common file systems allow, in bytes.
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Classifier:
    """A Keras model with an output of N scores, and what serving needs to know about it.

    Constructing one runs nothing: `export` reads the samples and tries the model.

    Attributes:
        model: the Keras model; its output is [B, N].
        name: the name that the server uses for the model.
        labels: the N labels, by index; if empty, `exporter.sources.examine` numbers them.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`. Without it, the export has
            no signatures that take image files.
        activation: "sigmoid" or "softmax" for a model that outputs logits; None if it outputs probabilities.
        max_image_pixels: width times height of the largest image file that is decoded.
        untrained: whether the weights are random; every export then warns about it.
        output_name: the output that holds the scores, if the model has several; see
            `exporter.sources.model_outputs`.
        also_outputs: other outputs, which are served unchanged beside the probabilities.
        input_names: new names for inputs, by the names that they would have; see `exporter.sources.model_inputs`.
        sample_path: where to read samples if `export` is given none; see `exporter.samples.files`.
        source_digest: SHA-256 of the file or directory that the model was loaded from; see `exporter.origin`.

    Raises:
        ExportError: when the name, a label, the activation or the preprocessing is invalid.

    Example:
        >>> Classifier(model, "digits", preprocessing="unit").inputs.specs
        {'images': TensorSpec(shape=(None, 4, 4, 1), dtype=tf.float32, name='images')}
    """

    model: Any
    name: str
    labels: tuple[str, ...] = field(default=(), repr=False)
    preprocessing: str | None = None
    activation: str | None = None
    max_image_pixels: int = 64_000_000
    untrained: bool = False
    output_name: str | None = None
    also_outputs: tuple[str, ...] = ()
    input_names: Mapping[str, str] = field(default_factory=dict)
    sample_path: Path | None = None
    source_digest: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.name) or self.name == "deploy":
            raise ExportError(
                f"{self.name!r} cannot be a model's name: use letters, digits, '_', '.' and '-', beginning with a "
                "letter or digit, and not 'deploy', the folder of the server's files."
            )
        if len(self.name) > _LONGEST_NAME:
            raise ExportError(
                f"The model's name has {len(self.name)} characters, and names a directory: use at most {_LONGEST_NAME}."
            )
        if self.activation is not None and self.activation not in ACTIVATIONS:
            raise ExportError(f"The activation {self.activation!r} is unknown: use {' or '.join(ACTIVATIONS)}.")
        if self.preprocessing is not None and self.preprocessing not in names.PREPROCESSINGS:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} is unknown: use one of {', '.join(names.PREPROCESSINGS)}."
            )
        if "" in self.labels:
            raise ExportError(f"Label {self.labels.index('')} is empty: give it a name.")

    @cached_property
    def inputs(self) -> ModelInputs:
        """The model's inputs."""
        return model_inputs(self.model, self.input_names)

    @cached_property
    def image_decoding(self) -> ImageDecoding | None:
        """How image files become the model's input; None without a preprocessing."""
        if self.preprocessing is None:
            return None
        specs = list(self.inputs.specs.values())
        if len(specs) != 1 or specs[0].shape.rank != 4 or None in specs[0].shape.as_list()[1:]:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} was given, but the model does not take images of one "
                "fixed size: its inputs are " + ", ".join(f"{spec.name} {spec.shape}" for spec in specs) + "."
            )
        channels, possible = specs[0].shape[-1], (3,) if self.preprocessing in ("caffe", "torch") else (1, 3)
        if channels not in possible:
            raise ExportError(
                f"The preprocessing {self.preprocessing!r} needs images of "
                f"{' or '.join(map(str, possible))} channels, but the model takes {channels}: leave it out to serve "
                "the model without image signatures."
            )
        return ImageDecoding(self.preprocessing, self.max_image_pixels)

    def probabilities(self, *tensors: tf.Tensor) -> tf.Tensor:
        """Return the dense probabilities, float32 [B, N], for inputs in the order of `inputs.specs`."""
        return self.answered(*tensors)[0]

    def answered(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        """Return the dense probabilities, followed by the outputs in `also_outputs`, for inputs in the same order."""
        output, *also = self._outputs(*tensors)
        scores = tf.ensure_shape(tf.cast(output, tf.float32), [None, len(self.labels) or None])
        return [scores if self.activation is None else ACTIVATIONS[self.activation](scores), *also]

    def backbone(self, batching: Batching | None, jit_compile: bool) -> Backbone:
        """Return the backbone that all signatures share."""
        return Backbone(
            self.answered if self.also_outputs else self.probabilities,
            self.inputs.specs,
            self.inputs.id_bounds,
            self.image_decoding,
            batching,
            jit_compile,
            self.also_outputs,
        )

    def weight_bytes(self) -> int:
        """Return the size of the exported variables in bytes."""
        return sum(value.dtype.size * value.shape.num_elements() for value in exported_variables(self.model))

    def dense_answers(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Return the Keras model's probabilities for samples, [S, N].

        Raises:
            ExportError: when the model fails, or its outputs are not probabilities.
        """
        dense = self.answers(samples)
        if len(broken := np.argwhere(np.isnan(dense))):
            raise ExportError(f"The model answers NaN for sample {broken[0][0]}: check its weights.")
        # Rounding may push a softmax slightly above 1.
        if dense.min() < -1e-6 or dense.max() > 1 + 1e-6:
            raise ExportError(
                f"The model's outputs for the samples range from {dense.min():.4g} to {dense.max():.4g}, but "
                "probabilities from 0 to 1: if these are logits, pass --activation sigmoid or --activation softmax."
            )
        return dense

    def answers(self, samples: Samples) -> npt.NDArray[np.float32]:
        """Return the Keras model's scores for samples, [S, N], in any range.

        Raises:
            ExportError: when the model fails.
        """
        return np.concatenate([answer.numpy() for answer in self._call_in_batches(self.probabilities, samples)])

    def also_answers(self, samples: Samples) -> dict[str, npt.NDArray[Any]]:
        """Return the model's outputs in `also_outputs` for samples, [S, ...] each.

        Raises:
            ExportError: when the model fails.
        """
        _, *also = zip(*self._call_in_batches(self._outputs, samples), strict=True)
        return {
            name: np.concatenate([tensor.numpy() for tensor in tensors])
            for name, tensors in zip(self.also_outputs, also, strict=True)
        }

    def outputs(self, samples: Samples) -> list[tf.Tensor]:
        """Return the model's raw outputs for samples, of any shape and type: the scores, then `also_outputs`.

        Raises:
            ExportError: when the model fails, or has several outputs of which none was chosen.
        """
        outputs: list[tf.Tensor] = self._call(self._outputs, samples)
        return outputs

    def _call_in_batches(self, function: Callable[..., Any], samples: Samples) -> Iterator[Any]:
        """Yield what a function returns for batches of samples.

        Keras keeps the output of every layer until a call returns, and TensorFlow keeps that memory for its next use:
        80 MB for each image in MobileNetV2.
        """
        at_once = 1 if self._call_bytes is None else min(max(_CALL_BYTES // max(self._call_bytes, 1), 1), _MOST_AT_ONCE)
        return (self._call(function, batch) for batch in samples.batches(at_once))

    @cached_property
    def _call_bytes(self) -> int | None:
        """The size of all layers' outputs for one example; None if the layers do not declare it."""
        total = 0
        for layer in self.model._flatten_layers(include_self=False):
            try:
                declared = keras.tree.flatten(layer.output)
            except AttributeError:  # A layer inside a subclassed one, or called more than once.
                return None
            for output in declared:
                if None in output.shape[1:]:
                    return None
                total += math.prod(output.shape[1:]) * tf.as_dtype(output.dtype).size
        return total or None

    def _call(self, function: Callable[..., Any], samples: Samples) -> Any:
        try:
            return function(*self._tensors(samples))
        except ExportError:
            raise
        except Exception as error:  # Layers raise errors of Keras, of TensorFlow and of their own.
            advice = "pass --samples with inputs that it accepts" if samples.made_up else "check them"
            if not getattr(self.model, "inputs", None):
                advice = (
                    "a subclassed model does not declare the type of its inputs, so float32 was sent; wrap it, "
                    "keras.Model(x, model(x)) with x = keras.Input(SHAPE, dtype=TYPE)"
                )
            samples_are = "made-up samples" if samples.made_up else "the samples"
            raise ExportError(f"The model fails for {samples_are}: {reason(error)}; {advice}.") from error

    def _tensors(self, samples: Samples) -> list[tf.Tensor]:
        return [tf.constant(samples.inputs[name], spec.dtype) for name, spec in self.inputs.specs.items()]

    def _outputs(self, *tensors: tf.Tensor) -> list[tf.Tensor]:
        answer = self.inputs.call(*tensors)
        return chosen_outputs(named_outputs(self.model, answer), self.output_name, self.also_outputs)
