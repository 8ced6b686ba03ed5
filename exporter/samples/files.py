"""Reading samples that a user gives: a folder of pictures, arrays, or tf.Examples."""

import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError
from exporter.samples.samples import Samples, samples_of_pictures
from exporter.sources.classifier import Classifier
from signatures.contract import names
from signatures.input_forms import example_features

_PICTURES = {".png", ".jpg", ".jpeg"}
_LABELS = "labels"
# TensorFlow's own image pipelines call the label so.
_LABEL_FEATURE = "image/class/label"


def read_samples(path: Path, classifier: Classifier) -> Samples:
    """Read samples, with their true labels where there are some.

    A folder holds PNG and JPEG files, and may hold `labels.json`: {"FILE": ["LABEL", ...]}. A `.npz` file holds one
    array [S, ...] for each of the model's inputs, under its name, and may hold `labels`, [S, N], of zeros and ones. A
    `.tfrecord` file holds tf.Examples as the signature `classify` takes them, and where any of them has the feature
    `image/class/label`, a list of the indices of true labels, it says what is true of each.

    Raises:
        ExportError: when that is not what is found.
    """
    if path.is_dir():
        return _pictures(path, classifier)
    if path.suffix == ".npz" and path.is_file():
        return _arrays(path, classifier)
    if path.suffix == ".tfrecord" and path.is_file():
        return _examples(path, classifier)
    raise ExportError(f"{path} holds no samples: give a folder of pictures, a .npz file or a .tfrecord file.")


def _pictures(folder: Path, classifier: Classifier) -> Samples:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _PICTURES)
    if not files:
        raise ExportError(f"{folder} holds no PNG or JPEG files to take as samples.")
    if classifier.pictures is None:
        raise ExportError(f"{folder} holds pictures; say with --preprocessing how they become the model's input.")
    truth = None
    if (labels := folder / "labels.json").exists():
        try:
            named = dict(json.loads(labels.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise ExportError(f'{labels} could not be read as JSON, {{"FILE": ["LABEL", ...]}}: {error}.') from error
        truth = _truth([named.get(file.name, ()) for file in files], classifier.labels, labels)
    return samples_of_pictures([file.read_bytes() for file in files], classifier.inputs, classifier.pictures, truth)


def _arrays(file: Path, classifier: Classifier) -> Samples:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays: dict[str, npt.NDArray[Any]] = dict(archive)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ExportError(f"{file} could not be read as .npz: {error}.") from error
    truth = arrays.pop(_LABELS, None)
    specs = classifier.inputs.specs
    if set(arrays) != set(specs):
        raise ExportError(f"{file} holds the arrays {sorted(arrays)}; the model's inputs are {sorted(specs)}.")
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1 or not all(sizes):
        raise ExportError(f"{file} holds arrays of {sorted(sizes)} samples; every input needs as many, at least one.")
    for name, spec in specs.items():
        if not spec.shape.is_compatible_with(arrays[name].shape):
            raise ExportError(f"{file} holds {name} of shape {list(arrays[name].shape)}; the model takes {spec.shape}.")
        arrays[name] = arrays[name].astype(spec.dtype.as_numpy_dtype)
    expected = (sizes.pop(), len(classifier.labels))
    if truth is not None and truth.shape != expected:
        raise ExportError(f"{file} holds labels of shape {list(truth.shape)}; {list(expected)} is needed.")
    return Samples(arrays, truth=None if truth is None else truth.astype(bool))


def _examples(file: Path, classifier: Classifier) -> Samples:
    pictures, specs = classifier.pictures, classifier.inputs.specs
    try:
        records = np.array(list(tf.compat.v1.io.tf_record_iterator(str(file))), object)
        features = example_features(specs, encoded_images=pictures is not None)
        parsed = tf.io.parse_example(records, {**features, _LABEL_FEATURE: tf.io.VarLenFeature(tf.int64)})
    except (tf.errors.OpError, ValueError) as error:
        reason = getattr(error, "message", str(error))
        raise ExportError(f"{file} could not be read as tf.Examples that classify takes: {reason}") from error
    if not len(records):
        raise ExportError(f"{file} holds no records to take as samples.")
    truth = _truth_by_index(parsed.pop(_LABEL_FEATURE), len(classifier.labels), file)
    if pictures:
        files = list(parsed[names.IMAGE_FEATURE].numpy())
        return samples_of_pictures(files, classifier.inputs, pictures, truth)
    return Samples({name: tf.cast(parsed[name], spec.dtype).numpy() for name, spec in specs.items()}, truth=truth)


def _truth_by_index(true: tf.SparseTensor, labels: int, file: Path) -> npt.NDArray[np.bool_] | None:
    """From lists of label indices; None where every list is empty."""
    indices = true.values.numpy()
    if not len(indices):
        return None
    if indices.min() < 0 or indices.max() >= labels:
        wrong = indices.min() if indices.min() < 0 else indices.max()
        raise ExportError(f"{file} has {_LABEL_FEATURE} {wrong}; the model's labels are 0 to {labels - 1}.")
    truth = np.zeros((true.dense_shape[0], labels), bool)
    truth[true.indices.numpy()[:, 0], indices] = True
    return truth


def _truth(named: Sequence[Sequence[str]], labels: Sequence[str], file: Path) -> npt.NDArray[np.bool_]:
    truth = np.zeros((len(named), len(labels)), bool)
    for row, true in enumerate(named):
        for label in map(str, true):
            if label not in labels:
                raise ExportError(f"{file} names the label {label!r}; the model's labels are {', '.join(labels)}.")
            truth[row, labels.index(label)] = True
    return truth
