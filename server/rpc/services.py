"""The gRPC services: a message in, a message or a status out, whatever happens."""

import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from server import metrics
from server.answers import Answers
from server.caller import Caller
from server.errors import ServingError, fault
from server.metrics import Metrics
from server.rpc.profiler import profile

_HEALTHY = b"\x08\x01"

# grpc_status_util.cc cuts messages here.
_MESSAGE_LIMIT = 1024

Answer = Callable[[Any, Caller], Any]


class Services:
    """The answers of PredictionService, ModelService and Health over gRPC.

    Args:
        answers: answers the requests.
        metrics: counts the requests.
        max_threads: requests answered at once; further ones are refused.
        log: called with one sentence for each fault of the server itself.

    """

    def __init__(self, answers: Answers, metrics: Metrics, max_threads: int, log: Callable[[str], None]) -> None:
        self._answers = answers
        self._metrics = metrics
        self._free = threading.Semaphore(max_threads)
        self._log = log

    def handlers(self, *, health: bool, profiler: bool) -> list[grpc.GenericRpcHandler]:
        """Return the handlers for grpc.Server.add_generic_rpc_handlers."""
        answers, unary = self._answers, self._unary
        services: dict[str, dict[str, Any]] = {
            "tensorflow.serving.PredictionService": {
                "Predict": unary(predict_pb2.PredictRequest, self._counted("Predict", answers.predict)),
                "Classify": unary(
                    classification_pb2.ClassificationRequest, self._counted("Classify", answers.classify)
                ),
                "Regress": unary(regression_pb2.RegressionRequest, self._counted("Regress", answers.regress)),
                "MultiInference": unary(inference_pb2.MultiInferenceRequest, answers.multi_infer),
                "GetModelMetadata": unary(get_model_metadata_pb2.GetModelMetadataRequest, answers.metadata),
            },
            "tensorflow.serving.ModelService": {
                "GetModelStatus": unary(get_model_status_pb2.GetModelStatusRequest, answers.status),
                "HandleReloadConfigRequest": unary(model_management_pb2.ReloadConfigRequest, answers.reload),
            },
        }
        if health:
            services["grpc.health.v1.Health"] = {"Check": grpc.unary_unary_rpc_method_handler(_check_health)}
        if profiler:
            services["tensorflow.ProfilerService"] = {"Profile": unary(Empty, profile)}
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    def _counted(self, api: str, answer: Answer) -> Answer:
        def counting(request: Any, caller: Caller) -> Any:
            began, code = metrics.now(), grpc.StatusCode.INTERNAL
            try:
                response = answer(request, caller)
                code = grpc.StatusCode.OK
                return response
            except ServingError as error:
                code = error.code
                raise
            finally:
                self._metrics.count_request(request.model_spec.name, api, "GRPC", code, began)

        return counting

    def _unary(self, request_type: Any, answer: Answer) -> Any:
        """Make a handler that takes bytes, so that malformed ones get the status of the real server."""

        def handle(data: bytes, context: Any) -> bytes:
            if not self._free.acquire(blocking=False):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            try:
                seconds = context.time_remaining()
                caller = Caller(context.is_active, None if seconds is None else time.monotonic() + seconds)
                response: bytes = answer(request_type.FromString(data), caller).SerializeToString()
                return response
            except ServingError as error:
                # The exception itself must not leave the block: it would keep this frame, and the request in it, in
                # memory until the garbage collector runs.
                code, message = error.code, error.message
            except DecodeError:
                code, message = grpc.StatusCode.INTERNAL, ""
            except Exception as error:  # A bug that a request triggers must not take the server down.
                self._log(f"A request of type {request_type.__name__} failed: {error!r}")
                code, message = fault(error).code, fault(error).message
            finally:
                self._free.release()
            if len(message) > _MESSAGE_LIMIT:
                message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
            context.abort(code, message)
            raise AssertionError("abort returned")

        return grpc.unary_unary_rpc_method_handler(handle)


def _check_health(request: bytes, context: Any) -> bytes:
    # HealthCheckRequest has one field, the name of a service; the server as a whole is the empty name.
    if request:
        context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    return _HEALTHY
