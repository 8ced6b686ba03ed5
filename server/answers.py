"""The server's answers: a request message in, a response message or a ServingError out, for gRPC and REST."""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
)

from server.caller import Caller
from server.errors import ServingError, invalid_argument
from server.inference.examples import classify, multi_infer, regress
from server.inference.predict import predict
from server.inference.servable import DEFAULT_SIGNATURE, Servable
from server.models.core import ServerCore

SIGNATURE_DEF = "signature_def"


class Answers:
    """The methods of PredictionService and ModelService.

    Each takes a request and its caller. A status other than OK is raised as a ServingError.
    """

    def __init__(self, core: ServerCore) -> None:
        self._core = core

    def predict(self, request: Any, caller: Caller) -> Any:
        """Answer a PredictRequest."""
        return self._infer(predict, request, caller)

    def classify(self, request: Any, caller: Caller) -> Any:
        """Answer a ClassificationRequest."""
        return self._infer(classify, request, caller)

    def regress(self, request: Any, caller: Caller) -> Any:
        """Answer a RegressionRequest."""
        return self._infer(regress, request, caller)

    def multi_infer(self, request: Any, caller: Caller) -> Any:
        """Answer a MultiInferenceRequest with the version that its first task names."""
        model_spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self._core.use(model_spec) as (number, servable):
            response = multi_infer(servable, request, caller)
        for result in response.results:
            result.model_spec.version.value = number
        return response

    def metadata(self, request: Any, caller: Caller) -> Any:
        """Answer a GetModelMetadataRequest."""
        _check_model_spec(request)
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for name in request.metadata_field:
            if name != SIGNATURE_DEF:
                raise invalid_argument(f"Metadata field {name} is not supported")
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        signatures = get_model_metadata_pb2.SignatureDefMap()
        with self._core.use(request.model_spec) as (number, servable):
            for key, signature in servable.signatures.items():
                signatures.signature_def[key].CopyFrom(signature)
        response.metadata[SIGNATURE_DEF].Pack(signatures)
        return _with_model(response, request, number)

    def status(self, request: Any, caller: Caller) -> Any:
        """Answer a GetModelStatusRequest; like the real server, ignore a label in it."""
        _check_model_spec(request)
        spec = request.model_spec
        statuses = self._core.statuses(spec.name)
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

    def reload(self, request: Any, caller: Caller) -> Any:
        """Answer a ReloadConfigRequest."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        self._core.reload(request.config, caller)
        response = model_management_pb2.ReloadConfigResponse()
        response.status.SetInParent()
        return response

    def inputs(self, model_spec: Any, signature: str) -> Mapping[str, Any]:
        """Return the TensorInfo of each input of a signature; an empty name means the default signature."""
        key = signature or DEFAULT_SIGNATURE
        with self._core.use(model_spec) as (_, servable):
            if key not in servable.signatures:
                raise invalid_argument(f'Serving signature name: "{key}" not found in signature def')
            return dict(servable.signatures[key].inputs)

    def _infer(self, answer: Callable[[Servable, Any, Caller], Any], request: Any, caller: Caller) -> Any:
        _check_model_spec(request)
        with self._core.use(request.model_spec) as (number, servable):
            return _with_model(answer(servable, request, caller), request, number)


def _check_model_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


def _with_model(response: Any, request: Any, number: int) -> Any:
    response.model_spec.name = request.model_spec.name
    response.model_spec.version.value = number
    return response
