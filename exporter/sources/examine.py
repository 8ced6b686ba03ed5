"""A trial run of a classifier: how many scores it answers, and samples that it takes."""

from dataclasses import replace

import numpy as np

from exporter.errors import ExportError
from exporter.samples.files import read_samples
from exporter.samples.samples import Samples, made_up_samples
from exporter.sources.classifier import Classifier


def examine(classifier: Classifier, samples: Samples | None = None) -> tuple[Classifier, Samples]:
    """Run a model on samples, to see whether it is a classifier that can be served.

    Args:
        classifier: the model.
        samples: examples for it; by default those at its `sample_path`, and without one they are made up.

    Returns:
        The classifier with its labels, by default their numbers, and the samples in the types that the model takes.

    Raises:
        ExportError: when the model is not one that can be served with a sparsified head, or the samples do not fit it.

    Example:
        >>> classifier, samples = examine(load_classifier("digits"))
        >>> len(samples)
        32
    """
    if samples is None and classifier.sample_path is not None:
        # Which labels are true can only be read with all labels known.
        known = classifier if classifier.labels else _labeled(classifier, _completed(classifier, None))
        samples = read_samples(classifier.sample_path, known)
    samples = _completed(classifier, samples)
    return _labeled(classifier, samples), samples


def _labeled(classifier: Classifier, samples: Samples) -> Classifier:
    """Return the classifier with as many labels as it has outputs."""
    size = _output_size(classifier, samples)
    if not classifier.labels:
        return replace(classifier, labels=tuple(map(str, range(size))))
    if len(classifier.labels) != size:
        raise ExportError(f"{len(classifier.labels)} labels were given for a model with {size} outputs.")
    return classifier


def _completed(classifier: Classifier, samples: Samples | None) -> Samples:
    """Check samples, and make up what is missing."""
    if samples is None or not len(samples):
        return made_up_samples(classifier.inputs, classifier.image_decoding)
    samples = samples.fitted(classifier.inputs)
    for name, bound in classifier.inputs.id_bounds.items():
        ids = samples.inputs[name]
        if len(wrong := np.argwhere((ids < 0) | (ids >= bound))):
            raise ExportError(
                f"The samples hold {name} = {ids[tuple(wrong[0])]} in sample {wrong[0][0]}; the model's embedding "
                f"has the ids 0 to {bound - 1}."
            )
    if classifier.image_decoding and not samples.images:
        return replace(samples, stand_ins=made_up_samples(classifier.inputs, classifier.image_decoding))
    return samples


def _output_size(classifier: Classifier, all_samples: Samples) -> int:
    """N; a trial run tells it, as a subclassed model declares none."""
    samples = all_samples.repeated(2)
    output = classifier.outputs(samples)
    if len(output.shape) != 2 or not output.shape[1] or output.shape[0] != len(samples):
        sizes = ["B" if size == len(samples) and not place else str(size) for place, size in enumerate(output.shape)]
        raise ExportError(
            f"The model's output for {len(samples)} examples has the shape [{', '.join(sizes)}]; a classifier's is "
            "[B, N], N scores an example."
        )
    if not (output.dtype.is_floating or output.dtype.is_integer or output.dtype.is_bool):
        raise ExportError(f"The model's output is of type {output.dtype.name}; a classifier's scores are numbers.")
    if not np.array_equal(output, classifier.outputs(samples), equal_nan=True):
        raise ExportError(
            "The model answers the same samples differently each time: let its layers draw random numbers in "
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


def _size_at(classifier: Classifier, samples: Samples, length: int) -> int | None:
    """N for inputs of another length; None for a length that the model does not take."""
    resized = samples.repeated(1).of_length(length, classifier.inputs.specs)
    try:
        return int(classifier.outputs(resized).shape[-1])
    except ExportError:
        return None
