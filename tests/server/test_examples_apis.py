"""Regress and MultiInference over gRPC, as TensorFlow Serving's own tests ask them, and what they refuse."""

import grpc
import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import inference_pb2, regression_pb2

from server.errors import ServingError
from server.inference.regress import fill_regressions, regression_tensors

CLASSIFY, REGRESS = "tensorflow/serving/classify", "tensorflow/serving/regress"


@pytest.fixture
def ask(running, client):
    return client(running)


def with_examples(request, *values):
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def regression(signature, *values):
    request = regression_pb2.RegressionRequest(model_spec={"name": "scaler", "signature_name": signature})
    return with_examples(request, *values)


def multi(*tasks, values=(2.0,)):
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in tasks:
        task = request.tasks.add(method_name=method)
        task.model_spec.name, task.model_spec.signature_name = "scaler", signature
    return with_examples(request, *values)


def error(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=20)
    return caught.value.code().name, caught.value.details()


def test_regress_answers_with_one_number_for_each_example(ask):
    response = ask.prediction.Regress(regression("regress", 2.0, 5.0), timeout=20)
    assert [entry.value for entry in response.result.regressions] == [6.0, 15.0]
    spec = response.model_spec
    assert (spec.name, spec.signature_name, spec.version.value) == ("scaler", "regress", 1)


def test_regress_merges_a_context_into_each_example(ask):
    request = regression("regress")
    request.input.example_list_with_context.context.features.feature["x"].float_list.value.append(4.0)
    request.input.example_list_with_context.examples.add()
    response = ask.prediction.Regress(request, timeout=20)
    assert [entry.value for entry in response.result.regressions] == [12.0]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (regression_pb2.RegressionRequest(), "Missing ModelSpec"),
        (regression("regress"), "Input is empty."),
        (regression("nosuch", 1.0), "No signature was found with the name: nosuch"),
        (regression("multiply", 1.0), "Expected one input Tensor."),
        (regression("classify", 1.0), "Expected one output Tensor."),
        (regression("scale", 1.0), 'No regression inputs found in SignatureDef: inputs {\n  key: "x"'),
    ],
)
def test_regress_refuses_what_it_cannot_regress(ask, request_, message):
    code, details = error(ask.prediction.Regress, request_)
    assert code == "INVALID_ARGUMENT"
    assert details.startswith(message)


def test_regress_refuses_outputs_that_are_not_a_regression():
    signature = meta_graph_pb2.SignatureDef()
    signature.inputs["inputs"].name = "in"
    signature.outputs["other"].name = "out"
    with pytest.raises(ServingError, match="No regression outputs found in SignatureDef"):
        regression_tensors(signature)
    signature.outputs["outputs"].name = "out"
    shape = "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
    for output, message in (
        (np.ones((2, 2), np.float32), f"{shape}[2,2]"),
        (np.float32(1), f"{shape}[]"),
        (np.ones(3, np.float32), "Input batch size did not match output batch size: 2 vs. 3"),
        (np.ones(2), "Expected output Tensor of DT_FLOAT.  Got: DT_DOUBLE"),
    ):
        with pytest.raises(ServingError) as caught:
            fill_regressions(regression_pb2.RegressionResult(), signature, 2, {"out": output})
        assert caught.value.message == message


def test_multi_inference_answers_each_task(ask):
    request = multi(("regress", REGRESS), ("classify", CLASSIFY), values=(2.0, 5.0))
    results = ask.prediction.MultiInference(request, timeout=20).results
    assert [entry.value for entry in results[0].regression_result.regressions] == [6.0, 15.0]
    rows = results[1].classification_result.classifications
    assert [[(entry.label, entry.score) for entry in row.classes] for row in rows] == [
        [("same", 2.0), ("scaled", 6.0)],
        [("same", 5.0), ("scaled", 15.0)],
    ]
    for result, signature in zip(results, ("regress", "classify"), strict=True):
        spec = result.model_spec
        assert (spec.name, spec.signature_name, spec.version.value) == ("scaler", signature, 1)


def other_model(request):
    request.tasks[1].model_spec.name = "other"
    return request


def without_name(request):
    request.tasks[1].model_spec.name = ""
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (multi(), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (multi(("regress", REGRESS), values=()), "INVALID_ARGUMENT", "Input is empty."),
        (
            without_name(multi(("regress", REGRESS), ("classify", CLASSIFY))),
            "INVALID_ARGUMENT",
            "Found ModelSpec with an empty model name.",
        ),
        (
            other_model(multi(("regress", REGRESS), ("classify", CLASSIFY))),
            "INVALID_ARGUMENT",
            "All ModelSpecs in a MultiInferenceRequest must access the same model name.",
        ),
        (
            multi(("regress", REGRESS), ("regress", REGRESS)),
            "INVALID_ARGUMENT",
            "Duplicate evaluation of signature: regress",
        ),
        (multi(("nosuch", REGRESS)), "INVALID_ARGUMENT", "Requested signature not found in model graph: nosuch"),
        (multi(("classify", REGRESS)), "INVALID_ARGUMENT", "Expected one output Tensor."),
        (
            multi(("scale", "tensorflow/serving/predict")),
            "UNIMPLEMENTED",
            "Unsupported signature method_name: tensorflow/serving/predict",
        ),
    ],
)
def test_multi_inference_refuses_tasks_that_it_cannot_answer(ask, request_, code, message):
    assert error(ask.prediction.MultiInference, request_) == (code, message)


def test_multi_inference_asks_the_version_of_its_first_task(ask):
    request = multi(("regress", REGRESS))
    request.tasks[0].model_spec.version.value = 7
    assert error(ask.prediction.MultiInference, request) == (
        "NOT_FOUND",
        "Servable not found for request: Specific(scaler, 7)",
    )
