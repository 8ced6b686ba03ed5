"""MultiInference: classifications and regressions of the same examples in one run of the graph.

Follows multi_inference.cc of tensorflow_serving/servables/tensorflow.
"""

from collections.abc import Callable
from typing import Any

import grpc
from tensorflow_serving.apis import inference_pb2

from server.errors import ServingError, invalid_argument
from server.inference import classify, regress
from server.inference.examples import serialized_examples
from server.inference.servable import DEFAULT_SIGNATURE, Call, Servable


def multi_infer(servable: Servable, request: Any, is_wanted: Callable[[], bool]) -> Any:
    """Answer a MultiInferenceRequest with a MultiInferenceResponse; each result names its model and signature.

    Raises:
        ServingError: tasks that cannot share a run, no examples, or what the graph says.

    """
    if not request.tasks:
        raise invalid_argument("ModelSpec has no name specified.")
    inputs, fetches = _tensors(servable, request.tasks)
    examples = serialized_examples(request.input)
    call = Call(request.tasks[0].model_spec.name, "", is_wanted)
    values = dict(zip(fetches, servable.run(call, dict.fromkeys(inputs, examples), fetches), strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        result = response.results.add()
        result.model_spec.name = task.model_spec.name
        result.model_spec.signature_name = key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures[key]
        if task.method_name == classify.METHOD:
            classify.fill_classifications(result.classification_result, signature, len(examples), values)
        else:
            regress.fill_regressions(result.regression_result, signature, len(examples), values)
    return response


def _tensors(servable: Servable, tasks: Any) -> tuple[list[str], list[str]]:
    """Return the tensors that the tasks feed with the examples, and those that they read."""
    names: set[str] = set()
    keys: set[str] = set()
    inputs: set[str] = set()
    fetches: set[str] = set()
    for task in tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        names.add(task.model_spec.name)
        if len(names) > 1:
            raise invalid_argument("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
        key = task.model_spec.signature_name or DEFAULT_SIGNATURE
        if key in keys:
            raise invalid_argument(f"Duplicate evaluation of signature: {key}")
        keys.add(key)
        input_name, outputs = _task_tensors(servable, key, task.method_name)
        inputs.add(input_name)
        fetches.update(outputs)
    return sorted(inputs), sorted(fetches)


def _task_tensors(servable: Servable, key: str, method: str) -> tuple[str, list[str]]:
    if key not in servable.signatures:
        raise invalid_argument(f"Requested signature not found in model graph: {key}")
    if method == classify.METHOD:
        return classify.classification_tensors(servable.signatures[key])
    if method == regress.METHOD:
        return regress.regression_tensors(servable.signatures[key])
    raise ServingError(grpc.StatusCode.UNIMPLEMENTED, f"Unsupported signature method_name: {method}")
