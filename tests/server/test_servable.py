"""What a loaded version answers to good and to wrong requests."""

import grpc
import numpy as np
import pytest
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

from server.errors import ServingError
from server.inference.classify import fill_classifications

X = np.array([1, 2, 3], np.float32)


@pytest.fixture
def ask(running, client):
    return client(running)


def test_predict_answers_with_all_outputs_and_the_version(ask):
    outputs, version = ask.predict({"x": X, "k": np.int32(4)})
    np.testing.assert_array_equal(outputs["y"], [7, 10, 13])
    np.testing.assert_array_equal(outputs["k"], [4, 4, 4])
    assert version == 1


def test_an_omitted_input_takes_the_default_of_its_signature(ask):
    outputs, _ = ask.predict({"x": X})
    np.testing.assert_array_equal(outputs["k"], [0, 0, 0])


def test_strings_go_in_and_come_out_and_assets_are_read(ask):
    outputs, _ = ask.predict({"words": np.array([b"two", b"\xff\x00", b""], object)}, "look_up")
    assert outputs["numbers"].tolist() == [2, -1, -1]
    assert outputs["words"].tolist() == [b"two", b"\xff\x00", b""]


def test_a_string_without_dimensions_is_answered_as_one(ask):
    outputs, _ = ask.predict({"words": np.array(b"one", object)}, "look_up")
    assert outputs["numbers"] == 1
    assert outputs["words"][()] == b"one"


def test_an_output_filter_leaves_the_others_out(ask):
    outputs, _ = ask.predict({"x": X}, outputs=["k"])
    assert list(outputs) == ["k"]


@pytest.mark.parametrize(
    ("inputs", "signature", "spec", "code", "message"),
    [
        ({"x": X}, "nosuch", {}, "FAILED_PRECONDITION", 'Serving signature key "nosuch" not found.'),
        ({"x": X}, "scale", {"name": "nosuch"}, "NOT_FOUND", "Servable not found for request: Latest(nosuch)"),
        ({"x": X}, "scale", {"version": 7}, "NOT_FOUND", "Servable not found for request: Specific(scaler, 7)"),
        ({"x": X}, "scale", {"label": "beta"}, "INVALID_ARGUMENT", "Unrecognized servable version label: beta"),
        ({"x": X}, "scale", {"name": ""}, "INVALID_ARGUMENT", "ModelSpec has no name specified."),
        (
            {},
            "scale",
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 0!=1 len({}) != len({x}). Sent extra: {}. Missing but required: {x}.",
        ),
        (
            {"x": X, "a": X},
            "scale",
            {},
            "INVALID_ARGUMENT",
            "input size does not match signature: 2!=1 len({a,x}) != len({x}). Sent extra: {a}. "
            "Missing but required: {}.",
        ),
        (
            {"k": np.int32(1)},
            "",
            {},
            "INVALID_ARGUMENT",
            "Signature input alias: x(feed name: serving_default_x:0) not found in request and no default value "
            "provided. Inputs expected to be in the request {k}, or default input alias set: k",
        ),
        (
            {"x": X, "a": X},
            "",
            {},
            "INVALID_ARGUMENT",
            "Inputs contains invalid name. Used request inputs: x, request input: a,x",
        ),
        (
            {"x": X.astype(np.float64)},
            "scale",
            {},
            "INVALID_ARGUMENT",
            "Expects arg[0] to be float but double is provided",
        ),
        (
            {"x": X, "z": np.int64([1, 2, 3])},
            "multiply",
            {},
            "INVALID_ARGUMENT",
            "Expects arg[1] to be float but int64 is provided",
        ),
        (
            {"x": X},
            "",
            {"outputs": ["z"]},
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: z Outputs expected to be in the set {k,y}.",
        ),
        ({"x": X}, "", {"outputs": ["y", "y"]}, "INVALID_ARGUMENT", "duplicate output tensor alias: y"),
    ],
)
def test_a_wrong_request_gets_the_servers_words(ask, inputs, signature, spec, code, message):
    assert ask.error(inputs, signature, **spec) == (code, message)


def test_what_the_graph_refuses_comes_with_the_graphs_words(ask):
    code, message = ask.error({"x": X[:, None]}, "scale")
    assert code == "INVALID_ARGUMENT"
    assert "[3,1] is not compatible with expected shape [?]" in message
    assert ask.scale(2) == [6]


def test_a_malformed_tensor_is_named(ask):
    request = ask.request({"x": X}, "scale")
    request.inputs["x"].tensor_shape.dim[0].size = -1
    with pytest.raises(grpc.RpcError, match="tensor parsing error: x") as caught:
        ask.prediction.Predict(request, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_request_without_a_model_spec_is_told_so(ask):
    for call, request in (
        (ask.prediction.Predict, predict_pb2.PredictRequest()),
        (ask.prediction.Classify, classification_pb2.ClassificationRequest()),
    ):
        with pytest.raises(grpc.RpcError, match="Missing ModelSpec"):
            call(request, timeout=20)


def _classification(signature, *values):
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "scaler"
    request.model_spec.signature_name = signature
    for value in values:
        request.input.example_list.examples.add().features.feature["x"].float_list.value.append(value)
    return request


def test_classify_answers_with_labels_and_scores(ask):
    response = ask.prediction.Classify(_classification("classify", 2.0, 5.0), timeout=20)
    found = [[(entry.label, entry.score) for entry in row.classes] for row in response.result.classifications]
    assert found == [[("same", 2.0), ("scaled", 6.0)], [("same", 5.0), ("scaled", 15.0)]]
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "classify"


def test_classify_merges_a_context_into_each_example(ask):
    request = _classification("classify")
    request.input.example_list_with_context.context.features.feature["x"].float_list.value.append(4.0)
    request.input.example_list_with_context.examples.add()
    response = ask.prediction.Classify(request, timeout=20)
    assert response.result.classifications[0].classes[1].score == 12.0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (_classification("classify"), "Input is empty."),
        (_classification("nosuch", 1.0), "No signature was found with the name: nosuch"),
        (_classification("multiply", 1.0), "Expected one input Tensor."),
        (_classification("scale", 1.0), 'No classification inputs found in SignatureDef: inputs {\n  key: "x"'),
    ],
)
def test_classify_refuses_what_it_cannot_classify(ask, request_, message):
    with pytest.raises(grpc.RpcError) as caught:
        ask.prediction.Classify(request_, timeout=20)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.details().startswith(message)


def test_numbers_come_in_the_field_of_their_type(ask):
    response = ask.prediction.Predict(ask.request({"x": X}), timeout=20)
    assert list(response.outputs["y"].float_val) == [3, 6, 9]
    assert not response.outputs["y"].tensor_content


def test_numbers_come_as_content_when_the_flag_says_so(serve, base, make_version, client):
    make_version(base / "1", 3.0)
    ask = client(serve(model_base_path=base, enable_serialization_as_tensor_content=True))
    response = ask.prediction.Predict(ask.request({"x": X}), timeout=20)
    assert response.outputs["y"].tensor_content == np.array([3, 6, 9], np.float32).tobytes()
    assert not response.outputs["y"].float_val
    outputs, _ = ask.predict({"words": np.array([b"one", b""], object)}, "look_up")
    assert outputs["words"].tolist() == [b"one", b""]


def test_classify_refuses_outputs_that_are_not_a_classification():
    scores = np.ones((2, 3), np.float32)
    for classes, numbers, message in (
        (None, np.ones(2, np.float32), "Expected Tensor shape: [batch_size num_classes] but got [2]"),
        (None, np.ones((2, 3), np.int64), "Expected scores Tensor of DT_FLOAT. Got: DT_INT64"),
        (scores, None, "Expected classes Tensor of DT_STRING. Got: DT_FLOAT"),
        (None, np.ones((3, 3), np.float32), "Expected scores output batch size of 2. Got: 3"),
        (np.full((2, 2), b"a", object), scores, "Tensors class and score should match in dim_size(1). Got 2 vs. 3"),
    ):
        signature = meta_graph_pb2.SignatureDef()
        values = {}
        for alias, value in (("classes", classes), ("scores", numbers)):
            if value is not None:
                signature.outputs[alias].name = alias
                values[alias] = value
        with pytest.raises(ServingError) as caught:
            fill_classifications(classification_pb2.ClassificationResult(), signature, 2, values)
        assert caught.value.message == message
