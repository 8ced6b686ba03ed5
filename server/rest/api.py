"""The JSON answer to a REST path and body. Follows http_rest_api_handler.cc."""

import time
from collections.abc import Callable
from typing import Any

from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    predict_pb2,
    regression_pb2,
)

from server.answers import SIGNATURE_DEF, Answers
from server.caller import Caller
from server.errors import invalid_argument
from server.rest import documents, replies
from server.rest.documents import Document
from server.rest.examples import fill_examples
from server.rest.paths import Target
from server.rest.tensors import fill_predict_request
from server.rest.values import as_name
from server.rest.writing import show


class RestApi:
    """The JSON answers of a server.

    Args:
        answers: answers the requests.
        seconds: how long the model may work on a request; 0 means forever.

    """

    def __init__(self, answers: Answers, seconds: float) -> None:
        self._answers = answers
        self._seconds = seconds
        self._methods = {
            "predict": self._predict,
            "classify": self._classify,
            "regress": self._regress,
            "metadata": self._metadata,
            "status": self._status,
        }

    def answer(self, target: Target, body: bytes) -> str:
        """Return the JSON text for a target and a request's body."""
        return self._methods[target.method](target, body)

    def _predict(self, target: Target, body: bytes) -> str:
        request = _addressed(predict_pb2.PredictRequest(), target)

        def fill(document: Document) -> bool:
            request.ClearField("inputs")
            _fill_signature(document, request)
            infos = self._answers.inputs(request.model_spec, request.model_spec.signature_name)
            return fill_predict_request(document, infos, request)

        in_rows = documents.read(body, fill)
        return replies.predict_json(self._run(self._answers.predict, request), in_rows=in_rows)

    def _classify(self, target: Target, body: bytes) -> str:
        request = _with_examples(_addressed(classification_pb2.ClassificationRequest(), target), body)
        return replies.classify_json(self._run(self._answers.classify, request))

    def _regress(self, target: Target, body: bytes) -> str:
        request = _with_examples(_addressed(regression_pb2.RegressionRequest(), target), body)
        return replies.regress_json(self._run(self._answers.regress, request))

    def _metadata(self, target: Target, body: bytes) -> str:
        request = _addressed(get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=[SIGNATURE_DEF]), target)
        return replies.metadata_json(self._answers.metadata(request, Caller()))

    def _status(self, target: Target, body: bytes) -> str:
        request = _addressed(get_model_status_pb2.GetModelStatusRequest(), target)
        return replies.status_json(self._answers.status(request, Caller()))

    def _run(self, answer: Callable[[Any, Caller], Any], request: Any) -> Any:
        return answer(request, Caller(deadline=time.monotonic() + self._seconds if self._seconds else None))


def _addressed(request: Any, target: Target) -> Any:
    """Fill in the model that a target names."""
    if not target.model:
        raise invalid_argument("Missing model name in request.")
    request.model_spec.name = target.model
    if target.version is not None:
        request.model_spec.version.value = target.version
    if target.label:
        request.model_spec.version_label = target.label
    return request


def _with_examples(request: Any, body: bytes) -> Any:
    def fill(document: Document) -> None:
        request.ClearField("input")
        _fill_signature(document, request)
        fill_examples(document, request)

    documents.read(body, fill)
    return request


def _fill_signature(document: Document, request: Any) -> None:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {show(document)} not formatted correctly. 'signature_name' key must be a string value."
        )
    request.model_spec.signature_name = as_name(name)
