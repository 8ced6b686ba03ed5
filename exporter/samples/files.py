"""Read a user's samples: a folder of images, arrays, or tf.Examples."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ExportError
from exporter.samples.recorded import holds_requests, recorded_rows
from exporter.samples.rows import Row, fitting, json_rows, samples_of_rows
from exporter.samples.samples import Samples, samples_of_images
from exporter.samples.truth import LABEL_FEATURE, truth_by_index, with_known, with_truth
from exporter.sources.classifier import Classifier
from signatures.contract import names
from signatures.input_forms import example_features

_IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
_LABELS = "labels"
_JSON_LINES = {".jsonl", ".ndjson", ".json"}


def read_samples(path: Path, classifier: Classifier) -> Samples:
    """Read samples, with their true labels if these are known.

    A folder holds PNG and JPEG files, and may hold `labels.json`: {"FILE": ["LABEL", ...]}. A `.npz` file holds one
    array [S, ...] for each of the model's inputs, under its name, and may hold `labels`, [S, N], of zeros and ones. A
    `.tfrecord` file holds tf.Examples as the signature `classify` takes them, which may have the feature
    `image/class/label`, a list of the indices of true labels; or it holds recorded requests, whose truth is
    unknown. JSON lines hold one example each, as `signatures.contract.json_lines` reads them.

    The truth is unknown for a file without an entry, a row of labels that is all -1 or NaN, and an example without the
    feature. An empty list says that no label is true.

    Raises:
        ExportError: when the path holds nothing of that kind, or it does not fit the model.
    """
    try:
        if path.is_dir():
            return _image_folder(path, classifier)
        if path.suffix == ".npz" and path.is_file():
            return _arrays(path, classifier)
        if path.suffix in _JSON_LINES and path.is_file():
            return _from_rows(list(json_rows(path, classifier)), path, classifier)
        if path.is_file() and (path.suffix == ".tfrecord" or _has_records(path)):
            return _records(path, classifier)
    except OSError as error:
        raise ExportError(f"{error.filename or path} could not be read: {error.strerror or error}.") from error
    raise ExportError(
        f"{path} holds no samples: pass a folder of images, a .npz file, JSON lines (.jsonl) or a TFRecord file."
    )


def _from_rows(rows: Sequence[Row], path: Path, classifier: Classifier) -> Samples:
    if not rows:
        raise ExportError(f"{path} holds no examples.")
    return samples_of_rows(rows, classifier, path)


def _has_records(path: Path) -> bool:
    """Return whether a file begins with a TFRecord, as recorded traffic does under any name."""
    try:
        return next(tf.compat.v1.io.tf_record_iterator(str(path)), None) is not None
    except tf.errors.OpError:
        return False


def _image_folder(folder: Path, classifier: Classifier) -> Samples:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _IMAGE_SUFFIXES)
    if not files:
        raise ExportError(f"{folder} holds no PNG or JPEG files.")
    if classifier.image_decoding is None:
        raise ExportError(f"{folder} holds images; say with --preprocessing how they become the model's input.")
    samples = samples_of_images(
        [file.read_bytes() for file in files],
        classifier.inputs,
        classifier.image_decoding,
        [str(file) for file in files],
    )
    labels = folder / "labels.json"
    if not labels.exists():
        return samples
    named = _named_labels(labels)
    if strangers := sorted(set(named) - {file.name for file in files}):
        raise ExportError(f"{labels} names {strangers[0]!r}, but {folder} has no image of that name: remove the entry.")
    return with_truth(samples, [named.get(file.name) for file in files], classifier.labels, labels)


def _named_labels(file: Path) -> dict[str, list[Any]]:
    """Return the true labels of each image in a labels.json."""
    try:
        named = json.loads(file.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise ExportError(f'{file} could not be read as JSON, {{"FILE": ["LABEL", ...]}}: {error}.') from error
    if not isinstance(named, dict):
        raise ExportError(f'{file} holds a {type(named).__name__}; write an object, {{"FILE": ["LABEL", ...]}}.')
    for image, labels in named.items():
        if not isinstance(labels, list):
            raise ExportError(
                f"{file} has {json.dumps(labels)} for {image!r}; write a list of labels, [] if none is true, and no "
                "entry if the truth is unknown."
            )
    return named


def _arrays(file: Path, classifier: Classifier) -> Samples:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays: dict[str, npt.NDArray[Any]] = dict(archive)
    # numpy raises a TypeError for one bare array, as in a .npy file.
    except (ValueError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ExportError(f"{file} could not be read as .npz: {error}.") from error
    truth: npt.NDArray[Any] | None = arrays.pop(_LABELS, None)
    specs = classifier.inputs.specs
    if set(arrays) != set(specs):
        raise ExportError(f"{file} holds the arrays {sorted(arrays)}; the model's inputs are {sorted(specs)}.")
    for name, spec in specs.items():
        if not spec.shape.is_compatible_with(arrays[name].shape):
            raise ExportError(f"{file} holds {name} of shape {list(arrays[name].shape)}; the model takes {spec.shape}.")
        arrays[name] = fitting(arrays[name], spec.dtype, f"{file} holds {name}")
    sizes = {len(array) for array in arrays.values()}
    if len(sizes) != 1 or not all(sizes):
        raise ExportError(
            f"{file} holds arrays of {sorted(sizes)} samples; every input needs the same number, at least one."
        )
    expected = (sizes.pop(), len(classifier.labels))
    if truth is None:
        return Samples(arrays)
    if truth.shape != expected:
        raise ExportError(f"{file} holds labels of shape {list(truth.shape)}; the shape {list(expected)} is needed.")
    unknown = (truth == -1) | np.isnan(truth) if truth.dtype.kind in "if" else np.zeros(truth.shape, bool)
    known = np.asarray(~unknown.all(axis=1))
    if not np.isin(truth[known], (0, 1)).all():
        raise ExportError(
            f"{file} holds labels other than 0 and 1; if the truth of a sample is unknown, set its whole row to -1."
        )
    return with_known(Samples(arrays), truth == 1, known)


def _records(file: Path, classifier: Classifier) -> Samples:
    """Read a TFRecord file: recorded requests if the first record is one, else tf.Examples."""
    try:
        records = list(tf.compat.v1.io.tf_record_iterator(str(file)))
    except tf.errors.OpError as error:
        raise ExportError(f"{file} could not be read as tf.Examples or recorded requests: {error.message}") from error
    if records and holds_requests(records[0]):
        return _from_rows(list(recorded_rows(file, records, classifier)), file, classifier)
    return _examples(file, np.array(records, object), classifier)


def _examples(file: Path, records: npt.NDArray[np.object_], classifier: Classifier) -> Samples:
    decoding, specs = classifier.image_decoding, classifier.inputs.specs
    try:
        features = example_features(specs, encoded_images=decoding is not None)
        parsed = tf.io.parse_example(records, {**features, LABEL_FEATURE: tf.io.VarLenFeature(tf.int64)})
    except (tf.errors.OpError, ValueError) as error:
        reason = getattr(error, "message", str(error))
        raise ExportError(f"{file} could not be read as tf.Examples that classify takes: {reason}") from error
    if not len(records):
        raise ExportError(f"{file} holds no records.")
    if decoding:
        files = list(parsed[names.IMAGE_FEATURE].numpy())
        sources = [f"{file}, record {number}," for number in range(len(files))]
        samples = samples_of_images(files, classifier.inputs, decoding, sources)
    else:
        samples = Samples(
            {name: fitting(parsed[name].numpy(), spec.dtype, f"{file} holds {name}") for name, spec in specs.items()}
        )
    true = parsed[LABEL_FEATURE]
    truth = truth_by_index(
        true.indices.numpy()[:, 0], true.values.numpy(), (len(records), len(classifier.labels)), file
    )
    # After parsing, an empty list looks the same as a missing one.
    known = [LABEL_FEATURE in tf.train.Example.FromString(record).features.feature for record in records]
    return with_known(samples, truth, np.array(known))
