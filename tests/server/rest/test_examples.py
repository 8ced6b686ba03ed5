"""Classify and Regress over REST."""

import base64

import pytest


def ask(rest, method, body, signature=None):
    return rest.predict(body, signature or method, f"/v1/models/scaler:{method}")


def test_classify_answers_with_pairs_of_label_and_score(rest):
    found = ask(rest, "classify", {"examples": [{"x": 1.0}, {"x": [2.0]}]})
    assert found.json == {"results": [[["same", 1.0], ["scaled", 3.0]], [["same", 2.0], ["scaled", 6.0]]]}


def test_regress_answers_with_numbers(rest):
    found = ask(rest, "regress", {"examples": [{"x": 1.0}, {"x": [2.0]}]})
    assert found.json == {"results": [3.0, 6.0]}


@pytest.mark.parametrize("method", ["classify", "regress"])
def test_a_context_is_merged_into_each_example(rest, method):
    with_context = ask(rest, method, {"context": {"x": 4.0}, "examples": [{}, {}]})
    assert with_context.json == ask(rest, method, {"examples": [{"x": 4.0}, {"x": 4.0}]}).json


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"signature_name": "regress"},
            'JSON Value: {\n    "signature_name": "regress"\n} When method is classify, key \'examples\' is expected '
            "and was not found",
        ),
        (
            {"examples": {}},
            'JSON Value: {\n    "signature_name": "regress",\n    "examples": {}\n} Expecting \'examples\' value '
            "to be an list/array",
        ),
        (
            {"examples": []},
            'JSON Value: {\n    "signature_name": "regress",\n    "examples": []\n} \'examples\' value is an '
            "empty array",
        ),
        ({"examples": [3]}, "Example must be JSON object but got JSON Number"),
        ({"examples": [{}], "context": "a"}, "Example must be JSON object but got JSON String"),
        ({"examples": [{"x": None}]}, "Feature: x has element with unexpected JSON type: Null"),
        ({"examples": [{"x": [[1.0]]}]}, "Feature: x has element with unexpected JSON type: Array"),
        ({"examples": [{"x": {"a": 1}}]}, "Feature: x has element with unexpected JSON type: Object"),
        ({"examples": [{"x": {"b64": "*"}}]}, "Unable to base64 decode"),
        ({"examples": [{"x": (1 << 64) - 1}]}, "Feature: x has uint64 element. Only int64 is supported."),
        ({"examples": [{"x": 1e39}]}, "Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ({"examples": [{"x": [1.0, "a"]}]}, "Unexpected element type in feature: x expecting type: float"),
        ({"examples": [{"x": [1, 1.0]}]}, "Unexpected element type in feature: x expecting type: int64"),
        ({"examples": [{"x": ["a", True]}]}, "Unexpected element type in feature: x expecting type: bytes"),
    ],
)
def test_wrong_examples_get_the_servers_words(rest, body, message):
    found = ask(rest, "regress", body, body.get("signature_name"))
    assert (found.status, found.json) == (400, {"error": message})


@pytest.mark.parametrize("value", [1, True, "a", {"b64": base64.b64encode(b"\xff").decode()}])
def test_features_have_the_type_of_their_json(rest, value):
    found = ask(rest, "regress", {"examples": [{"x": value}]})
    assert found.status == 400
    kind = "string" if isinstance(value, str | dict) else "int64"
    assert f"Data types don't match. Data type: {kind} but expected type: float" in found.json["error"]


@pytest.mark.parametrize(
    ("method", "signature", "message"),
    [
        ("classify", "regress", "Expected classification signature outputs to contain at least one of"),
        ("regress", "classify", "Expected one output Tensor."),
        ("regress", "scale", "No regression inputs found in SignatureDef: inputs {"),
        ("regress", "multiply", "Expected one input Tensor."),
        ("regress", "nosuch", "No signature was found with the name: nosuch"),
    ],
)
def test_a_signature_for_something_else_is_refused(rest, method, signature, message):
    found = ask(rest, method, {"examples": [{"x": 1.0}]}, signature)
    assert found.status == 400
    assert found.json["error"].startswith(message)
