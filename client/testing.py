"""A transport that answers in memory, so that code that calls a model can be tested without a server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from client.errors import ClientError, ServerError
from client.rpc import messages
from client.rpc.codec import decode_tensor, encode_tensor
from client.rpc.dtypes import type_number
from signatures.contract import names

Outputs = Mapping[str, ArrayLike]

_WITHOUT_LIMITS = (names.FIXED_K, names.DENSE, names.ENCODED_IMAGES_DENSE)


@dataclass(frozen=True)
class Request:
    """One Predict request, as a server would receive it.

    Attributes:
        signature: the signature's key.
        inputs: the inputs by name; strings are an object array of bytes.
        version: the version that it names, or None.
        label: the version label that it names, or None.
    """

    signature: str
    inputs: Mapping[str, NDArray[Any]]
    version: int | None = None
    label: str | None = None


Answer = Outputs | ClientError | Callable[[Request], Outputs]


class MockTransport:
    """Answers Predict, GetModelMetadata and GetModelStatus in memory, for both clients.

    Args:
        answers: by signature key, the outputs to answer with, an error to raise, or a function that is called with the
            `Request` and returns the outputs. One function alone answers every signature.
        inputs: the dtype of each input that the signatures declare besides the limits k and min_score, by name; they
            take any shape.
        version: the version that answers.

    Attributes:
        requests: the Predict requests received so far.

    Example:
        >>> transport = MockTransport({"serving_default": {"probabilities": [[0.0, 0.9]]}}, inputs={"text": "string"})
        >>> with ServingClient("test:0", "topics", transport=transport) as client:
        ...     client.predict(["a text"], k=1)["probabilities"].tolist()
        [[0.0, 0.8999999761581421]]
        >>> transport.requests[0].inputs["text"].tolist()
        [b'a text']
    """

    def __init__(
        self,
        answers: Mapping[str, Answer] | Callable[[Request], Outputs],
        *,
        inputs: Mapping[str, str],
        version: int = 1,
    ) -> None:
        self.requests: list[Request] = []
        self._answers = answers
        self._inputs = inputs
        self._version = version

    def send(self, method: str, request: bytes, timeout: float) -> bytes:
        """Answer a request; see `client.rpc.transport.Transport`."""
        answer = {
            "Predict": self._predict,
            "GetModelMetadata": self._metadata,
            "GetModelStatus": self._status,
        }.get(method.rpartition("/")[2])
        if answer is None:
            raise ServerError(f"the mock transport does not answer {method}", grpc.StatusCode.UNIMPLEMENTED)
        return answer(request)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    async def send_async(self, method: str, request: bytes, timeout: float) -> bytes:
        """Answer a request; see `client.rpc.transport.AsyncTransport`."""
        return self.send(method, request, timeout)

    async def close_async(self) -> None:
        """Do nothing: there is no connection."""

    def _predict(self, serialized: bytes) -> bytes:
        message = messages.PredictRequest.FromString(serialized)
        spec = message.model_spec
        request = Request(
            spec.signature_name,
            {name: decode_tensor(tensor) for name, tensor in message.inputs.items()},
            spec.version.value if spec.HasField("version") else None,
            spec.version_label or None,
        )
        self.requests.append(request)
        response = messages.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = spec.name, self._version
        for name, value in self._outputs(request).items():
            array = np.asarray(value)
            array = array.astype(np.float32) if array.dtype == np.float64 else array
            response.outputs[name].ParseFromString(b"".join(encode_tensor(array)))
        serialized_response: bytes = response.SerializeToString()
        return serialized_response

    def _outputs(self, request: Request) -> Outputs:
        answer = self._answers if callable(self._answers) else self._answers.get(request.signature)
        if answer is None:
            message = f'Serving signature key "{request.signature}" not found.'
            raise ServerError(message, grpc.StatusCode.FAILED_PRECONDITION)
        if isinstance(answer, ClientError):
            raise answer
        return answer(request) if callable(answer) else answer

    def _metadata(self, serialized: bytes) -> bytes:
        signatures = messages.SignatureDefMap()
        for key in self._keys():
            definition = signatures.signature_def[key]
            definition.method_name = "tensorflow/serving/predict"
            files = key in (names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K, names.ENCODED_IMAGES_DENSE)
            inputs = {names.ENCODED_IMAGES: "string"} if files else self._inputs
            limits = {} if key in _WITHOUT_LIMITS else {names.K: np.int32(1), names.MIN_SCORE: np.float32(0)}
            for name, dtype in {**inputs, **{name: default.dtype.name for name, default in limits.items()}}.items():
                definition.inputs[name].dtype = type_number(dtype)
                definition.inputs[name].tensor_shape.unknown_rank = True
            for name, default in limits.items():
                definition.defaults[name].ParseFromString(b"".join(encode_tensor(default)))
        response = messages.GetModelMetadataResponse()
        response.model_spec.version.value = self._version
        response.metadata["signature_def"].Pack(signatures)
        serialized_response: bytes = response.SerializeToString()
        return serialized_response

    def _keys(self) -> Sequence[str]:
        if callable(self._answers):
            return (names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K)
        return tuple(self._answers)

    def _status(self, serialized: bytes) -> bytes:
        available = next(number for number, state in messages.VERSION_STATES.items() if state == "AVAILABLE")
        response = messages.GetModelStatusResponse()
        response.model_version_status.add(version=self._version, state=available)
        serialized_response: bytes = response.SerializeToString()
        return serialized_response
