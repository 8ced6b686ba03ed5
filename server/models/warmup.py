"""Replaying the warm-up records of a version before it may serve; one that fails makes the load fail.

Follows saved_model_warmup_util.cc: `assets.extra/tf_serving_warmup_requests` is a TFRecord file of PredictionLog.
"""

from collections.abc import Callable
from pathlib import Path

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import prediction_log_pb2

from server.errors import ServingError, from_tensorflow, invalid_argument
from server.servable import Servable

_FILE = Path("assets.extra", "tf_serving_warmup_requests")
_MAX_RECORDS = 1000


def warm_up(servable: Servable, path: Path, is_wanted: Callable[[], bool]) -> None:
    """Send the records of a version directory, if it has any, through the servable, while that is still wanted.

    Raises:
        ServingError: a record fails, is none, or of a kind that the stand-in does not answer; or there are too many.

    """
    file = path / _FILE
    if not file.exists():
        return
    try:
        for count, record in enumerate(tf.data.TFRecordDataset(str(file)).as_numpy_iterator(), start=1):
            _replay(servable, record, file, is_wanted)
            if count > _MAX_RECORDS:
                raise invalid_argument(f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {file}")
    except tf.errors.DataLossError as error:
        raise ServingError(
            grpc.StatusCode.DATA_LOSS, f"{error.message}. Please verify your warmup data is in TFRecord format."
        ) from None
    except tf.errors.OpError as error:
        raise from_tensorflow(error.error_code, error.message) from None


def _replay(servable: Servable, record: bytes, file: Path, is_wanted: Callable[[], bool]) -> None:
    try:
        log = prediction_log_pb2.PredictionLog.FromString(record)
    except DecodeError:
        raise invalid_argument(f"Failed to parse warmup record: {record!r} from {file}") from None
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        servable.predict(log.predict_log.request, is_wanted)
    elif kind == "classify_log":
        servable.classify(log.classify_log.request, is_wanted)
    elif kind == "session_run_log":
        raise ServingError(grpc.StatusCode.UNIMPLEMENTED, "Unsupported log_type for warmup: 6")
    elif kind is not None:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED, f"This stand-in has no {kind} and cannot warm up with it; leave it out."
        )
