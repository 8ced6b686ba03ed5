"""Requests as TensorFlow Serving logs them: TFRecords of PredictionLog, the format of its warm-up files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError

from client.errors import InputError
from client.recording.tfrecord import framed, read_file
from client.rpc import messages
from client.rpc.calls import CLASSIFY, PREDICT
from client.rpc.codec import varint
from client.rpc.messages import PredictionLog
from client.rpc.metadata import Target

_LOGS = {PREDICT: "predict_log", CLASSIFY: "classify_log"}
_METHODS = {log: method for method, log in _LOGS.items()}
_MESSAGES = {PREDICT: messages.PredictRequest, CLASSIFY: messages.ClassificationRequest}
_NUMBERS = {method: PredictionLog.DESCRIPTOR.fields_by_name[log].number for method, log in _LOGS.items()}
# The fields of PredictLog and ClassifyLog alike.
_REQUEST, _RESPONSE = 1, 2

# The most bytes that a record takes in addition to the request and the response.
OVERHEAD_BYTES = 64


@dataclass(frozen=True)
class RecordedRequest:
    """One request of a file.

    Attributes:
        method: the gRPC method that it was sent to.
        request: the request, serialized.
        response: the response, serialized; empty if it was not recorded.
    """

    method: str
    request: bytes
    response: bytes = b""

    def message(self) -> Any:
        """Return the request as a PredictRequest or ClassificationRequest."""
        return _MESSAGES[self.method].FromString(self.request)

    def addressed(self, target: Target) -> "RecordedRequest":
        """Return the same request to another model or version; signature, inputs and options stay."""
        message = self.message()
        spec = messages.ModelSpec(name=target.model, signature_name=message.model_spec.signature_name)
        if target.version is not None:
            spec.version.value = target.version
        if target.label is not None:
            spec.version_label = target.label
        message.model_spec.CopyFrom(spec)
        return replace(self, request=message.SerializeToString())


def is_recorded(method: str) -> bool:
    """Return whether requests to a gRPC method can be recorded: those to Predict and Classify."""
    return method in _LOGS


def log_record(method: str, request: bytes, response: bytes = b"") -> list[bytes]:
    """Return a TFRecord of a PredictionLog, in parts. The serialized messages are neither parsed nor copied."""
    header = _header(_REQUEST, len(request))
    rest = [_header(_RESPONSE, len(response)), response] if response else []
    length = len(header) + len(request) + sum(map(len, rest))
    return framed(_header(_NUMBERS[method], length) + header, request, *rest)


def read_log(payload: bytes) -> RecordedRequest | None:
    """Read a record; return None if it is not the PredictionLog of a Predict or Classify request."""
    try:
        log = PredictionLog.FromString(payload)
    except ProtobufDecodeError:
        return None
    kind = log.WhichOneof("log_type")
    if kind not in _METHODS:
        return None
    logged = getattr(log, kind)
    response = logged.response.SerializeToString() if logged.HasField("response") else b""
    return RecordedRequest(_METHODS[kind], logged.request.SerializeToString(), response)


def recorded_requests(path: Path) -> Iterator[RecordedRequest]:
    """Yield the requests of a file, in the order in which they were answered.

    Args:
        path: a file that a Recorder wrote, a version's warm-up requests, or its golden records.

    Raises:
        InputError: if the file cannot be read, or at a record that is damaged or holds no request.

    Example:
        >>> for recorded in recorded_requests(Path("traffic.tfrecord")):
        ...     client.transport.send(recorded.method, recorded.request, timeout=10)
    """
    for source, payload in read_file(path):
        recorded = read_log(payload)
        if recorded is None:
            raise InputError(f"{source} is not a recorded Predict or Classify request")
        yield recorded


def _header(field: int, length: int) -> bytes:
    return varint(field << 3 | 2) + varint(length)
