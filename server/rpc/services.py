"""The gRPC services: messages in, messages or statuses out, and nothing that could end the process."""

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import grpc
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

from server.core import ServerCore
from server.errors import ServingError, fault, invalid_argument

_SIGNATURE_DEF = "signature_def"
_HEALTHY = b"\x08\x01"

# grpc_status_util.cc cuts messages here.
_MESSAGE_LIMIT = 1024

Answer = Callable[[Any, Any], Any]


class Services:
    """The answers of PredictionService, ModelService and Health.

    Args:
        core: the models.
        max_threads: requests answered at once; one more is refused.
        log: takes one sentence for a fault of the server itself.

    """

    def __init__(self, core: ServerCore, max_threads: int, log: Callable[[str], None]) -> None:
        self._core = core
        self._free = threading.Semaphore(max_threads)
        self._log = log

    def handlers(self, *, health: bool) -> list[grpc.GenericRpcHandler]:
        """Give what a grpc.Server takes with add_generic_rpc_handlers."""
        services: dict[str, dict[str, Any]] = {
            "tensorflow.serving.PredictionService": {
                "Predict": self._unary(predict_pb2.PredictRequest, self._predict),
                "Classify": self._unary(classification_pb2.ClassificationRequest, self._classify),
                "GetModelMetadata": self._unary(get_model_metadata_pb2.GetModelMetadataRequest, self._metadata),
                "Regress": self._unary(regression_pb2.RegressionRequest, _has_none("Regress")),
                "MultiInference": self._unary(inference_pb2.MultiInferenceRequest, _has_none("MultiInference")),
            },
            "tensorflow.serving.ModelService": {
                "GetModelStatus": self._unary(get_model_status_pb2.GetModelStatusRequest, self._status),
                "HandleReloadConfigRequest": self._unary(model_management_pb2.ReloadConfigRequest, self._reload),
            },
        }
        if health:
            services["grpc.health.v1.Health"] = {
                "Check": grpc.unary_unary_rpc_method_handler(_check_health),
            }
        return [grpc.method_handlers_generic_handler(name, methods) for name, methods in services.items()]

    def _unary(self, request_type: Any, answer: Answer) -> Any:
        """Make a handler that takes bytes, so that bytes that are no message get the real server's status."""

        def handle(data: bytes, context: Any) -> bytes:
            if not self._free.acquire(blocking=False):
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
            try:
                response: bytes = answer(request_type.FromString(data), context).SerializeToString()
                return response
            except ServingError as error:
                # Only these two leave the block: with the exception itself, this frame and the request in it would
                # stay in memory until the garbage collector comes by.
                code, message = error.code, error.message
            except DecodeError:
                code, message = grpc.StatusCode.INTERNAL, ""
            except Exception as error:  # Whatever a request finds wrong in this server must not take it down.
                self._log(f"A request of type {request_type.__name__} failed: {error!r}")
                code, message = fault(error).code, fault(error).message
            finally:
                self._free.release()
            if len(message) > _MESSAGE_LIMIT:
                message = message[:_MESSAGE_LIMIT] + "...TRUNCATED"
            context.abort(code, message)
            raise AssertionError("abort returned")

        return grpc.unary_unary_rpc_method_handler(handle)

    def _predict(self, request: Any, context: Any) -> Any:
        _check_model_spec(request)
        with self._core.versions.use(*self._core.resolve(request.model_spec)) as (number, servable):
            return _with_model(servable.predict(request, context.is_active), request, number)

    def _classify(self, request: Any, context: Any) -> Any:
        _check_model_spec(request)
        with self._core.versions.use(*self._core.resolve(request.model_spec)) as (number, servable):
            return _with_model(servable.classify(request, context.is_active), request, number)

    def _metadata(self, request: Any, context: Any) -> Any:
        _check_model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != _SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {name} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._core.versions.use(*self._core.resolve(request.model_spec)) as (number, servable):
            for key, signature in servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
        response.metadata[_SIGNATURE_DEF].Pack(signatures)
        return _with_model(response, request, number)

    def _status(self, request: Any, context: Any) -> Any:
        _check_model_spec(request)
        spec = request.model_spec
        statuses = self._core.versions.statuses(spec.name)
        if spec.HasField("version"):
            number = spec.version.value
            if number not in statuses:
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find version {number} of model {spec.name}")
            statuses = {number: statuses[number]}
        if not statuses:
            raise ServingError(grpc.StatusCode.NOT_FOUND, f"Could not find any versions of model {spec.name}")
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, status in statuses.items():
            shown = response.model_version_status.add(version=number, state=int(status.state))
            shown.status.error_code = status.code
            shown.status.error_message = status.message
        return response

    def _reload(self, request: Any, context: Any) -> Any:
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        self._core.reload(request.config, context.is_active)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response


def _check_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _with_model(response: Any, request: Any, number: int) -> Any:
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = number
    return response


def _has_none(method: str) -> Answer:
    def refuse(request: Any, context: Any) -> NoReturn:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"This stand-in has no {method}; ask a tensorflow_model_server, or use Predict or Classify.",
        )

    return refuse


def _check_health(request: bytes, context: Any) -> bytes:
    # HealthCheckRequest has one field, the name of a service; the server as a whole is the empty name.
    if request:
        context.abort(grpc.StatusCode.NOT_FOUND, "service name unknown")
    return _HEALTHY
