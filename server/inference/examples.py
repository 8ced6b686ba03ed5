"""Classify, Regress and MultiInference: the APIs whose requests are tf.Example messages.

Follows classifier.cc, regressor.cc and multi_inference.cc of tensorflow_serving/servables/tensorflow.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from server.caller import Caller
from server.errors import ServingError, invalid_argument
from server.inference.classify import classification_tensors, fill_classifications
from server.inference.regress import fill_regressions, regression_tensors
from server.inference.servable import DEFAULT_SIGNATURE, Call, Servable


@dataclass(frozen=True)
class _Method:
    """What a signature can do with examples.

    Attributes:
        tensors: returns the tensor of a SignatureDef that takes examples, and those that are read.
        fill: fills a result from a SignatureDef, the number of examples, and the values of tensors by name.
        field: the field of InferenceResult for such a result.

    """

    tensors: Callable[[Any], tuple[str, list[str]]]
    fill: Callable[[Any, Any, int, dict[str, Any]], None]
    field: str


_CLASSIFY = _Method(classification_tensors, fill_classifications, "classification_result")
_REGRESS = _Method(regression_tensors, fill_regressions, "regression_result")
_METHODS = {"tensorflow/serving/classify": _CLASSIFY, "tensorflow/serving/regress": _REGRESS}


def classify(servable: Servable, request: Any, caller: Caller) -> Any:
    """Answer a ClassificationRequest; the response's model_spec names the signature only."""
    call = Call(request.model_spec.name, "Classify", caller)
    return _answer(servable, request, call, _CLASSIFY, classification_pb2.ClassificationResponse())


def regress(servable: Servable, request: Any, caller: Caller) -> Any:
    """Answer a RegressionRequest; the response's model_spec names the signature only."""
    call = Call(request.model_spec.name, "Regress", caller)
    return _answer(servable, request, call, _REGRESS, regression_pb2.RegressionResponse())


def multi_infer(servable: Servable, request: Any, caller: Caller) -> Any:
    """Answer a MultiInferenceRequest in one run of the graph; each result names its model and signature."""
    if not request.tasks:
        raise invalid_argument("ModelSpec has no name specified.")
    inputs: set[str] = set()
    fetches: set[str] = set()
    for key, method in _checked_tasks(servable, request.tasks):
        input_name, outputs = method.tensors(servable.signatures[key])
        inputs.add(input_name)
        fetches.update(outputs)
    call = Call(request.tasks[0].model_spec.name, "", caller)
    rows, values = _run(servable, call, sorted(inputs), sorted(fetches), request.input)
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        method = _METHODS[task.method_name]
        result = response.results.add(model_spec={"name": task.model_spec.name, "signature_name": key})
        method.fill(getattr(result, method.field), servable.signatures[key], rows, values)
    return response


def _checked_tasks(servable: Servable, tasks: Any) -> Iterator[tuple[str, _Method]]:
    """Yield the signature and the method of each task; refuse one that cannot share a run with those before it."""
    keys = set()
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != tasks[0].model_spec.name:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in keys:
            raise invalid_argument(f"Duplicate evaluation of signature: {key}")
        if key not in servable.signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {key}")
        if task.method_name not in _METHODS:
            raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
        keys.add(key)
        yield key, _METHODS[task.method_name]


def _answer(servable: Servable, request: Any, call: Call, method: _Method, response: Any) -> Any:
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise invalid_argument(f"No signature was found with the name: {key}")
    signature = servable.signatures[key]
    input_name, fetches = method.tensors(signature)
    rows, values = _run(servable, call, [input_name], fetches, request.input)
    response.model_spec.signature_name = key
    method.fill(response.result, signature, rows, values)
    return response


def _run(
    servable: Servable, call: Call, inputs: Sequence[str], fetches: Sequence[str], message: Any
) -> tuple[int, dict[str, Any]]:
    """Feed the examples of an Input message; return their number and the values of the fetched tensors by name."""
    examples: list[bytes] = []
    kind = message.WhichOneof("kind")
    if kind == "example_list":
        examples = [example.SerializeToString() for example in message.example_list.examples]
    elif kind == "example_list_with_context":
        # Two concatenated serialized messages parse as one that merges them.
        context = message.example_list_with_context.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in message.example_list_with_context.examples]
    if not examples:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(examples), np.object_)
    array[:] = examples
    return len(examples), dict(zip(fetches, servable.run(call, dict.fromkeys(inputs, array), fetches), strict=True))
