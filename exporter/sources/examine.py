"""A trial run of a classifier, which finds the number of its outputs and checks or makes up its samples."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf

from exporter.errors import ExportError
from exporter.samples.files import read_samples
from exporter.samples.samples import Samples, made_up_samples
from exporter.sources.classifier import Classifier


def examine(classifier: Classifier, samples: Samples | None = None) -> tuple[Classifier, Samples]:
    """Run a model on samples to see whether it is a classifier that can be served.

    Args:
        classifier: the model.
        samples: examples for the model; by default those at its `sample_path`, or made-up ones if it has none.

    Returns:
        The classifier with its labels (their numbers, if it had none), and the samples in the model's types.

    Raises:
        ExportError: when the model cannot be served with a sparsified head, or the samples do not fit it.

    Example:
        >>> classifier, samples = examine(load_classifier("digits"))
        >>> len(samples)
        32
    """
    if samples is None and classifier.sample_path is not None:
        # Reading the true labels takes the full list of labels.
        known = classifier if classifier.labels else _add_labels(classifier, _complete(classifier, None))
        samples = read_samples(classifier.sample_path, known)
    samples = _complete(classifier, samples)
    return _add_labels(classifier, samples), samples


def _add_labels(classifier: Classifier, samples: Samples) -> Classifier:
    """Return the classifier with one label for each output."""
    size = _output_size(classifier, samples)
    if not classifier.labels:
        return replace(classifier, labels=tuple(map(str, range(size))))
    if len(classifier.labels) != size:
        raise ExportError(f"{len(classifier.labels)} labels were given for a model with {size} outputs.")
    return classifier


def _complete(classifier: Classifier, samples: Samples | None) -> Samples:
    """Check samples, and make up those that are missing."""
    if samples is None or not len(samples):
        return made_up_samples(classifier.inputs, classifier.image_decoding)
    samples = samples.fitted(classifier.inputs)
    for name, bound in classifier.inputs.id_bounds.items():
        ids = samples.inputs[name]
        if len(wrong := np.argwhere((ids < 0) | (ids >= bound))):
            raise ExportError(
                f"The samples hold {name} = {ids[tuple(wrong[0])]} in sample {wrong[0][0]}; the model's embedding "
                f"takes ids from 0 to {bound - 1}."
            )
    if classifier.image_decoding and not samples.images:
        return replace(samples, stand_ins=made_up_samples(classifier.inputs, classifier.image_decoding))
    return samples


def _output_size(classifier: Classifier, all_samples: Samples) -> int:
    """Find N by a trial run, because a subclassed model does not declare it."""
    samples, (output, *also) = _try(classifier, all_samples)
    _check_also_outputs(classifier.also_outputs, also, len(samples))
    if len(output.shape) != 2 or not output.shape[1] or output.shape[0] != len(samples):
        sizes = ["B" if size == len(samples) and not place else str(size) for place, size in enumerate(output.shape)]
        raise ExportError(
            f"The model's output for {len(samples)} examples has the shape [{', '.join(sizes)}]; a classifier's is "
            "[B, N], with N scores for each example."
        )
    if not (output.dtype.is_floating or output.dtype.is_integer or output.dtype.is_bool):
        raise ExportError(f"The model's output is of type {output.dtype.name}; a classifier's scores are numbers.")
    if not np.array_equal(output, classifier.outputs(samples)[0], equal_nan=True):
        raise ExportError(
            "The model answers the same samples differently each time: its layers may draw random numbers in "
            "training only."
        )
    size = int(output.shape[1])
    if (length := samples.longest(classifier.inputs.specs)) and (
        other := _size_at(classifier, all_samples, length + 1)
    ) not in (None, size):
        raise ExportError(
            f"The model answers {size} scores for an input of length {length} and {other} for one of {length + 1}; "
            "a classifier's N is the same for every request."
        )
    return size


def _try(classifier: Classifier, samples: Samples) -> tuple[Samples, list[tf.Tensor]]:
    """Run the model on two examples, to see whether it answers with a row for each; return them and its outputs.

    If the model declares that it does, one example is enough, and takes half the memory: Keras keeps the output of
    every layer until a call returns, and TensorFlow keeps that memory.
    """
    declared = getattr(classifier.model, "outputs", None) or ()
    if declared and all(tensor.shape and tensor.shape[0] is None for tensor in declared):
        one = samples.repeated(1)
        outputs = classifier.outputs(one)
        if all(output.shape.rank and output.shape[0] == 1 for output in outputs):
            return one, outputs
    two = samples.repeated(2)
    return two, classifier.outputs(two)


def _check_also_outputs(names: Sequence[str], outputs: Sequence[tf.Tensor], examples: int) -> None:
    for name, output in zip(names, outputs, strict=True):
        if not output.shape.rank or output.shape[0] != examples:
            raise ExportError(
                f"The output {name!r} for {examples} examples has the shape {list(output.shape)}; what is served with "
                "the scores has a row for each example, [B, ...]."
            )


def _size_at(classifier: Classifier, samples: Samples, length: int) -> int | None:
    """Find N for inputs of another length; None if the model does not take that length."""
    resized = samples.repeated(1).of_length(length, classifier.inputs.specs)
    try:
        return int(classifier.outputs(resized)[0].shape[-1])
    except ExportError:
        return None
