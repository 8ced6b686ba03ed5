"""Replay the warm-up records of a version before it may serve. If one of them fails, the load fails.

Follows saved_model_warmup_util.cc: `assets.extra/tf_serving_warmup_requests` is a TFRecord file of PredictionLog.
"""

from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from server import metrics
from server.caller import Caller
from server.errors import ServingError, from_tensorflow, invalid_argument
from server.inference.examples import classify, multi_infer, regress
from server.inference.predict import predict
from server.inference.servable import Servable

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000
_ANSWERS = {
    "predict_log": predict,
    "classify_log": classify,
    "regress_log": regress,
    "multi_inference_log": multi_infer,
}


def warm_up(servable: Servable, path: Path, caller: Caller) -> None:
    """Replay the records of a version directory, if it has any, for as long as the caller waits for the version.

    Raises:
        ServingError: if a record fails, cannot be read, or cannot be replayed, or if there are too many.

    """
    file = path / _FILE
    if not file.exists():
        return
    began = metrics.now()
    try:
        for count, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator(), start=1):
            if not caller.is_waiting():
                raise ServingError(grpc.StatusCode.CANCELLED, "The server stops.")
            _replay(servable, record, file, caller)
            if count > _MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}")
    except tf.errors.DataLossError as error:
        raise ServingError(
            grpc.StatusCode.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from None
    except tf.errors.OpError as error:
        raise from_tensorflow(error) from None
    servable.metrics.model_warmup_latency.add(metrics.now() - began, str(path), "OK")


def _replay(servable: Servable, record: bytes, file: Path, caller: Caller) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        raise invalid_argument(f"Failed to parse warmup record: {record!r} from {file}") from None
    kind = log.WhichOneof("log_type")
    if kind is None:
        return
    if kind not in _ANSWERS:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")
    _ANSWERS[kind](servable, getattr(log, kind).request, caller)
