"""Send malformed requests to a server, which must refuse them, survive, and answer good ones afterwards."""

from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import classification_pb2, predict_pb2

from exporter.errors import ValidationError
from exporter.validation.on_server.malformed import Malformed, good_requests, malformed_requests, method_of
from exporter.validation.on_server.readiness import channel_to, how_it_died, refusal
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.servers.server import Server
from exporter.validation.on_server.target import Target

REQUEST_SECONDS = 60.0
SERVICE = "/tensorflow.serving.PredictionService/"

_LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class FailedByRequestError(ValidationError):
    """A malformed request ended the server, or made it hang."""

    def __init__(self, message: str, request: Malformed) -> None:
        super().__init__(message)
        self.request = request


def survive(server: Server, address: str, target: Target, servable: Servable) -> int:
    """Send every malformed request, and return their number.

    Raises:
        ValidationError: when the server answers one that it must refuse, ends or hangs, or no longer answers good ones.
    """
    count = 0
    with channel_to(address) as channel:
        for request in malformed_requests(servable.directory, servable.version, empty=servable.batching is None):
            _send_malformed(channel, request, server, target)
            count += 1
        for good in good_requests(servable.directory, servable.version):
            key = good.model_spec.signature_name
            try:
                _call(channel, method_of(good))(good.SerializeToString(), timeout=REQUEST_SECONDS)
            except grpc.RpcError as error:
                status = f"{error.code().name}: {error.details()}"
                what = f"no longer answers a good request to {key} after {count} malformed ones ({status})"
                raise refusal(target, what, server) from error
    return count


def _send_malformed(channel: grpc.Channel, request: Malformed, server: Server, target: Target) -> None:
    try:
        _call(channel, request.method)(request.message, timeout=REQUEST_SECONDS)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            what = f"did not answer {request.description}, in {REQUEST_SECONDS:g} s"
            raise FailedByRequestError(str(refusal(target, what, server)), request) from error
        if error.code() in _LOST and (ended := how_it_died(server)):
            what = f"did not survive {request.description}: {ended}"
            raise FailedByRequestError(str(refusal(target, what, server)), request) from error
        return
    if request.refused:
        raise FailedByRequestError(f"{target} answers {request.description}, which must be refused.", request)


def _call(channel: grpc.Channel, method: str) -> Callable[..., Any]:
    """Return a method that takes bytes, because some of the requests are not valid messages."""
    answers = {"Predict": predict_pb2.PredictResponse, "Classify": classification_pb2.ClassificationResponse}
    call: Callable[..., Any] = channel.unary_unary(SERVICE + method, response_deserializer=answers[method].FromString)
    return call
