"""The calls of TensorFlow Serving's gRPC API as values: the method, the request's bytes, and a response reader.

Nothing here sends anything, so that the blocking and the asyncio client share all of it.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, TypeVar

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError
from numpy.typing import ArrayLike, NDArray

from client.errors import DecodeError, InputError
from client.rpc import messages
from client.rpc.codec import Part, decode_tensor, encode_tensor, field, size, varint
from client.rpc.examples import example_message
from client.rpc.metadata import Metadata, Target, VersionStatus, read_signatures, read_statuses
from signatures.contract import names

T = TypeVar("T")

_PREDICTION = "/tensorflow.serving.PredictionService/"
_MODEL = "/tensorflow.serving.ModelService/"

# The methods that users' requests are sent to.
PREDICT = _PREDICTION + "Predict"
CLASSIFY = _PREDICTION + "Classify"


@dataclass(frozen=True)
class Call(Generic[T]):
    """One call: the gRPC method, a serialized request, and the function that reads the serialized response.

    `deadline` is the time on the monotonic clock after which an answer is useless.
    """

    method: str
    request: bytes
    read: Callable[[bytes], T]
    deadline: float = math.inf

    def seconds_left(self, timeout: float) -> float:
        """Return how many seconds to wait for the response: the timeout, or less if the deadline is earlier."""
        return timeout if self.deadline == math.inf else min(timeout, self.deadline - time.monotonic())


@dataclass(frozen=True)
class Answer:
    """An answer of Predict: the outputs by name, and the version that computed them."""

    outputs: dict[str, NDArray[Any]]
    model: str
    version: int


def predict_call(
    target: Target,
    signature: str,
    inputs: Mapping[str, ArrayLike],
    outputs: Sequence[str] = (),
    dtypes: Mapping[str, str] | None = None,
) -> Call[Answer]:
    """Return the call to a signature. `outputs` limits the answer; `dtypes` names the inputs to send as bfloat16."""
    parts: list[Part] = [field(1, _model_spec(target, signature))]
    for name, value in inputs.items():
        tensor = encode_tensor(value, (dtypes or {}).get(name))
        length = size(tensor)
        parts += (_entry_header(name, length), *tensor)
    parts += [field(3, name.encode()) for name in outputs]
    return Call(PREDICT, b"".join(parts), _read_answer)


def identity_call(target: Target, probes: int = 1) -> Call[Answer]:
    """Return the call for a version's identity, repeated for each probe. ExportInfo.from_outputs reads the answer."""
    return predict_call(target, names.EXPORT_INFO, {names.PROBE: np.zeros(probes, np.int32)})


def classify_call(
    target: Target, signature: str, examples: Sequence[Mapping[str, Any]]
) -> Call[list[list[tuple[str, float]]]]:
    """Return the Classify call for examples, each given as features by name. It reads their classes and scores.

    Raises:
        InputError: if there are no examples, or if one cannot be sent.
    """
    if not examples:
        raise InputError("no examples were given to classify: send at least one")
    request = messages.ClassificationRequest(model_spec=messages.ModelSpec.FromString(_model_spec(target, signature)))
    request.input.example_list.examples.extend(map(example_message, examples))
    return Call(CLASSIFY, request.SerializeToString(), _read_classes)


def metadata_call(target: Target) -> Call[Metadata]:
    """Return the call for the signatures of a version."""
    request = field(1, _model_spec(target)) + field(2, b"signature_def")
    return Call(_PREDICTION + "GetModelMetadata", request, _read_metadata)


def status_call(target: Target) -> Call[tuple[VersionStatus, ...]]:
    """Return the call for the states of the versions."""
    return Call(
        _MODEL + "GetModelStatus",
        field(1, _model_spec(target)),
        lambda response: read_statuses(_parse(messages.GetModelStatusResponse, response)),
    )


def reload_call(config: Any) -> Call[Any]:
    """Return the call that replaces the server's ModelServerConfig. It reads the response's StatusProto."""
    request = messages.ReloadConfigRequest(config=config)
    return Call(
        _MODEL + "HandleReloadConfigRequest",
        request.SerializeToString(),
        lambda response: _parse(messages.ReloadConfigResponse, response).status,
    )


@lru_cache(maxsize=256)
def _entry_header(name: str, length: int) -> bytes:
    """Return the bytes before a tensor of this length in the map of inputs."""
    entry = field(1, name.encode()) + varint(2 << 3 | 2) + varint(length)
    return varint(2 << 3 | 2) + varint(len(entry) + length) + entry


@lru_cache(maxsize=256)
def _model_spec(target: Target, signature: str = "") -> bytes:
    spec = field(1, target.model.encode())
    if target.version is not None:
        spec += field(2, b"\x08" + varint(target.version))
    if signature:
        spec += field(3, signature.encode())
    if target.label is not None:
        spec += field(4, target.label.encode())
    return spec


def _parse(message_class: Any, response: bytes) -> Any:
    try:
        return message_class.FromString(response)
    except ProtobufDecodeError as error:
        raise DecodeError(f"the answer is not a {message_class.DESCRIPTOR.name} message") from error


def _read_answer(response: bytes) -> Answer:
    message = _parse(messages.PredictResponse, response)
    tensors, spec = message.outputs, message.model_spec
    outputs = {name: decode_tensor(tensors[name]) for name in sorted(tensors)}
    return Answer(outputs, spec.name, spec.version.value)


def _read_classes(response: bytes) -> list[list[tuple[str, float]]]:
    result = _parse(messages.ClassificationResponse, response).result
    return [[(item.label, item.score) for item in classes.classes] for classes in result.classifications]


def _read_metadata(response: bytes) -> Metadata:
    message = _parse(messages.GetModelMetadataResponse, response)
    signature_defs = _parse(messages.SignatureDefMap, message.metadata["signature_def"].value)
    return Metadata(
        message.model_spec.name,
        message.model_spec.version.value,
        read_signatures(signature_defs.signature_def),
    )
