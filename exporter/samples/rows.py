"""Samples from single examples, each with a value for every input or with an image file."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError
from exporter.samples.samples import Samples, samples_of_images
from exporter.samples.truth import with_truth
from exporter.sources.classifier import Classifier
from signatures.contract import names
from signatures.contract.json_lines import LineError, read_line

# Where a request or a tf.Example holds an image's file.
_IMAGE_NAMES = (names.ENCODED_IMAGES, names.IMAGE_FEATURE)


@dataclass(frozen=True)
class Row:
    """One example.

    Attributes:
        source: where it was read, for error messages.
        values: by name, the model's inputs without a batch dimension, or an image file.
        labels: its true labels, or None if they are unknown.
    """

    source: str
    values: Mapping[str, Any]
    labels: Sequence[str] | None = None


def json_rows(file: Path, classifier: Classifier) -> Iterator[Row]:
    """Yield the examples of JSON lines; see `signatures.contract.json_lines`.

    Raises:
        ExportError: when a line is not an example.
    """
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                source = f"{file}, line {number}"
                try:
                    stated = read_line(line, list(classifier.inputs.specs), source)
                except LineError as error:
                    raise ExportError(f"{error}.") from error
                yield Row(source, stated.values, stated.labels)


def samples_of_rows(rows: Sequence[Row], classifier: Classifier, file: Path) -> Samples:
    """Return the examples of the most frequent shape as samples: an array holds only one shape.

    Args:
        rows: the examples; at least one.
        classifier: the model that they are for.
        file: the file that they were read from.

    Raises:
        ExportError: when an example does not fit the model.
    """
    images = [_image_file(row, classifier) for row in rows]
    if all(image is not None for image in images):
        decoded = _decode(rows, images, classifier)
        return with_truth(decoded, [row.labels for row in rows], classifier.labels, file)
    found = [
        _arrays(row, classifier) if image is None else dict(_decode([row], [image], classifier).inputs)
        for row, image in zip(rows, images, strict=True)
    ]
    shapes = [tuple(array.shape for array in arrays.values()) for arrays in found]
    ((frequent, _),) = Counter(shapes).most_common(1)
    places = [place for place, shape in enumerate(shapes) if shape == frequent]
    inputs = {name: np.concatenate([found[place][name] for place in places]) for name in classifier.inputs.specs}
    samples = replace(Samples(inputs), left_out=len(rows) - len(places))
    return with_truth(samples, [rows[place].labels for place in places], classifier.labels, file)


def fitting(array: npt.NDArray[Any], dtype: tf.DType, what: str) -> npt.NDArray[Any]:
    """Cast an array to the model's type, which must be able to hold its values.

    Raises:
        ExportError: when it cannot.
    """
    if (array.dtype.kind in "SUO") != (dtype == tf.string):
        raise ExportError(f"{what} of type {array.dtype}; the model takes {dtype.name}.")
    with np.errstate(all="ignore"):
        cast: npt.NDArray[Any] = array.astype(dtype.as_numpy_dtype)
    # Floats may be rounded; integers and booleans must keep their values.
    if not dtype.is_floating and not np.array_equal(cast, array):
        wrong = array[cast != array].flat[0]
        raise ExportError(f"{what} = {wrong}, but the model takes {dtype.name}.")
    return cast


def _image_file(row: Row, classifier: Classifier) -> bytes | None:
    """Return the image file that an example is, or None if it is something else."""
    if len(row.values) != 1:
        return None
    ((name, value),) = row.values.items()
    spec = classifier.inputs.specs.get(name)
    taken = name in _IMAGE_NAMES if spec is None else spec.dtype != tf.string
    return value if taken and isinstance(value, bytes) else None


def _decode(rows: Sequence[Row], images: Sequence[bytes | None], classifier: Classifier) -> Samples:
    if classifier.image_decoding is None:
        raise ExportError(f"{rows[0].source} is an image; say with --preprocessing how it becomes the model's input.")
    files = [image for image in images if image is not None]
    return samples_of_images(files, classifier.inputs, classifier.image_decoding, [row.source for row in rows])


def _arrays(row: Row, classifier: Classifier) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of one example, [1, ...] each."""
    specs = classifier.inputs.specs
    if set(row.values) != set(specs):
        raise ExportError(f"{row.source} holds {sorted(row.values)}; the model's inputs are {sorted(specs)}.")
    return {name: _array(row.values[name], spec, f"{row.source} holds {name}") for name, spec in specs.items()}


def _array(value: Any, spec: tf.TensorSpec, what: str) -> npt.NDArray[Any]:
    try:
        # As bytes, the values would lose zeros at their end.
        array = np.array(value, object if spec.dtype == tf.string else None)
    except (ValueError, OverflowError) as error:
        raise ExportError(f"{what} as lists of different lengths; the model takes {spec.shape}.") from error
    if array.ndim == 0 and set(spec.shape[1:]) <= {1}:
        array = array.reshape([1] * (spec.shape.rank - 1))
    if not spec.shape[1:].is_compatible_with(array.shape):
        raise ExportError(f"{what} of shape {list(array.shape)}; the model takes rows of {spec.shape[1:]}.")
    if spec.dtype == tf.string and not all(isinstance(each, str | bytes) for each in array.flat):
        raise ExportError(f"{what} = {array.flat[0]!r}; the model takes strings.")
    return fitting(array[np.newaxis], spec.dtype, what)
