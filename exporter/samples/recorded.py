"""Samples from recorded requests: TFRecords of PredictionLog, the format of recorded traffic and warm-up requests."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from exporter.errors import ExportError
from exporter.samples.rows import Row
from exporter.sources.classifier import Classifier
from signatures.contract import names

_KINDS = ("predict_log", "classify_log")


def holds_requests(record: bytes) -> bool:
    """Return whether a record of a TFRecord file is a recorded request; otherwise it may be a tf.Example."""
    return _log(record).WhichOneof("log_type") in _KINDS


def recorded_rows(file: Path, records: list[bytes], classifier: Classifier) -> Iterator[Row]:
    """Yield the examples in recorded requests; requests for a model's identity hold none.

    Raises:
        ExportError: when a record is not a request of Predict or Classify.
    """
    for number, record in enumerate(records, start=1):
        source, log = f"{file}, record {number}", _log(record)
        kind = log.WhichOneof("log_type")
        if kind not in _KINDS:
            raise ExportError(f"{source} is not a recorded Predict or Classify request.")
        request = getattr(log, kind).request
        if kind == "classify_log":
            for example in request.input.example_list.examples:
                yield Row(source, _features(example, classifier))
        elif request.model_spec.signature_name != names.EXPORT_INFO:
            yield from _predict_rows(request, source)


def _log(record: bytes) -> Any:
    try:
        return prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        return prediction_log_pb2.PredictionLog()


def _predict_rows(request: Any, source: str) -> Iterator[Row]:
    inputs = {name: proto for name, proto in request.inputs.items() if name not in names.LIMITS}
    try:
        arrays = {name: tf.make_ndarray(proto) for name, proto in inputs.items()}
    except (TypeError, ValueError) as error:
        raise ExportError(f"{source} holds a tensor that cannot be read: {error}.") from error
    lengths = {len(array) if array.ndim else 0 for array in arrays.values()}
    if len(lengths) != 1:
        raise ExportError(f"{source} holds inputs of {sorted(lengths)} examples; each needs the same number.")
    for place in range(lengths.pop()):
        yield Row(source, {name: array[place] for name, array in arrays.items()})


def _features(example: Any, classifier: Classifier) -> dict[str, Any]:
    """Return the values of a tf.Example: an image's file, or the model's inputs."""
    features = example.features.feature
    specs = classifier.inputs.specs
    if names.IMAGE_FEATURE in features and not set(specs) <= set(features):
        files = list(features[names.IMAGE_FEATURE].bytes_list.value)
        return {names.IMAGE_FEATURE: files[0] if len(files) == 1 else files}
    return {name: _shaped(features[name], spec) for name, spec in specs.items() if name in features}


def _shaped(feature: Any, spec: tf.TensorSpec) -> Any:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    array = np.empty(len(values), object) if kind == "bytes_list" else np.array(values)
    array[:] = values
    shape = [-1 if size is None else size for size in spec.shape[1:]]
    # Values that do not fit keep their shape, and are refused for it later.
    fits = shape.count(-1) <= 1 and array.size % max(int(np.prod([size for size in shape if size > 0])), 1) == 0
    return array.reshape(shape) if fits and (-1 in shape or array.size == np.prod(shape)) else array
