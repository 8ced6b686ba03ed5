"""Files of requests that travel with a version: TFRecords of PredictionLog, as TensorFlow Serving writes them."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from exporter.samples.requests import own_request, request
from exporter.samples.samples import Samples
from signatures.contract import names
from signatures.contract.questions import ExportedLimits

Arrays = Mapping[str, npt.NDArray[Any]]


def golden_records(
    model: str, samples: Samples, dense: npt.NDArray[np.float32], megabytes: float
) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Make one record for each sample: its request with k = N and min_score = 0, and the expected dense answer.

    With them, a client without the model and without TensorFlow can judge a server's answers.

    Args:
        model: the name that the model is served under.
        samples: S examples.
        dense: the expected probabilities, [S, N].
        megabytes: stop before the records take more than this many 10^6 bytes, but make at least one.
    """
    size = 0
    for row in range(len(samples)):
        every, unbounded = np.array([dense.shape[1]], np.int32), np.zeros(1, np.float32)
        inputs = request(names.SERVING_DEFAULT, samples.rows(row, row + 1), every, unbounded)
        log = _predict(model, names.SERVING_DEFAULT, inputs)
        log.predict_log.response.model_spec.CopyFrom(log.predict_log.request.model_spec)
        log.predict_log.response.outputs[names.PROBABILITIES].CopyFrom(tf.make_tensor_proto(dense[row : row + 1]))
        size += log.ByteSize()
        if row and size > megabytes * 1e6:
            return
        yield log


def warmup_records(
    model: str,
    keys: Sequence[str],
    samples: Sequence[Samples],
    limits: ExportedLimits,
    sizes: Sequence[int],
    own: Mapping[str, Collection[str]] | None = None,
) -> Iterator[prediction_log_pb2.PredictionLog]:
    """Make the requests that a server runs before it accepts others: one for each signature, and one for each size.

    A record that fails keeps the version from loading, so each follows the rules of the server's own batching too: one
    k and one min_score for each example.

    Args:
        model: the name that the model is served under.
        keys: the signatures.
        samples: the same examples once for each length that requests are padded to.
        limits: the default limits of the export, which the requests send.
        sizes: the batch sizes to run.
        own: the inputs of each of the user's own signatures, by key.
    """
    for key in keys:
        if key == names.EXPORT_INFO:
            yield _predict(model, key, {names.PROBE: np.zeros(1, np.int32)})
        elif own and key in own:
            inputs = (own_request(own[key], each.repeated(1), **_limit_each(limits, 1)) for each in samples)
            yield from (_predict(model, key, each) for each in inputs)
        else:
            yield from (_warmup(model, key, each, limits, 1) for each in samples)
    # The form that takes the least space on disk.
    key = names.ENCODED_IMAGES if names.ENCODED_IMAGES in keys else names.SERVING_DEFAULT
    for size in sizes:
        if size > 1:
            yield from (_warmup(model, key, each, limits, size) for each in samples)


def write_records(file: Path, records: Iterator[prediction_log_pb2.PredictionLog]) -> str:
    """Write a TFRecord file and return its SHA-256 in hexadecimal."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # If this fails, Python's error names the file; TensorFlow's would not.
    file.touch()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record.SerializeToString(deterministic=True))
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_requests(file: Path) -> Iterator[tuple[str, Arrays]]:
    """Yield the signature and the inputs of each record."""
    for record in tf.compat.v1.io.tf_record_iterator(str(file)):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("classify_log"):
            examples = log.classify_log.request.input.example_list.examples
            serialized = np.array([example.SerializeToString(deterministic=True) for example in examples], object)
            yield log.classify_log.request.model_spec.signature_name, {names.EXAMPLES: serialized}
        else:
            asked = log.predict_log.request
            yield (
                asked.model_spec.signature_name,
                {name: tf.make_ndarray(proto) for name, proto in asked.inputs.items()},
            )


def _limit_each(limits: ExportedLimits, size: int) -> dict[str, npt.NDArray[Any]]:
    return {
        names.K: np.full(size, limits.k, np.int32),
        names.MIN_SCORE: np.full(size, limits.min_score, np.float32),
    }


def _warmup(
    model: str, key: str, samples: Samples, limits: ExportedLimits, size: int
) -> prediction_log_pb2.PredictionLog:
    inputs = request(key, samples.repeated(size), **_limit_each(limits, size))
    if key != names.CLASSIFY:
        return _predict(model, key, inputs)
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.name = model
    log.classify_log.request.model_spec.signature_name = key
    for example in inputs[names.EXAMPLES]:
        log.classify_log.request.input.example_list.examples.add().ParseFromString(example)
    return log


def _predict(model: str, key: str, inputs: Arrays) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = model
    log.predict_log.request.model_spec.signature_name = key
    for name, array in inputs.items():
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
    return log
