"""Predict over REST: rows, columns, types, and what is wrong with a request."""

import base64

import pytest

# The default signature takes x (float) and k (int32); scale takes x; look_up takes words; count takes steps (int32).


def element(sentence, number=0, key=""):
    key = f" key: {key}" if key else ""
    return f"Failed to process element: {number}{key} of 'instances' list. Error: INVALID_ARGUMENT: {sentence}"


@pytest.mark.parametrize(
    ("signature", "body", "answer"),
    [
        ("scale", {"instances": [1.0, 2]}, {"predictions": [3.0, 6.0]}),
        ("scale", {"instances": [{"x": 1}, {"x": 2.5}]}, {"predictions": [3.0, 7.5]}),
        ("scale", {"inputs": [1.0, 2]}, {"outputs": [3.0, 6.0]}),
        ("scale", {"inputs": {"x": [1.0, 2], "ignored": "here"}}, {"outputs": [3.0, 6.0]}),
        ("scale", {"inputs": []}, {"outputs": []}),
        (None, {"instances": [{"x": 1, "k": 1}]}, {"predictions": [{"y": 4.0, "k": 1}]}),
        (None, {"inputs": {"x": [1, 2], "k": 3}}, {"outputs": {"y": [6.0, 9.0], "k": [3, 3]}}),
        (
            "look_up",
            {"instances": ["one", {"b64": base64.b64encode(b"two").decode()}, "none"]},
            {
                "predictions": [
                    {"words": "one", "numbers": 1},
                    {"words": "two", "numbers": 2},
                    {"words": "none", "numbers": -1},
                ]
            },
        ),
        ("look_up", {"inputs": {"b64": "dHdv"}}, {"outputs": {"words": "two", "numbers": 2}}),
        ("look_up", {"inputs": {"words": {"b64": "dHdv"}}}, {"outputs": {"words": "two", "numbers": 2}}),
        ("look_up", {"inputs": 'ü"\\\n\u2028'}, {"outputs": {"words": 'ü"\\\n\u2028', "numbers": -1}}),
        ("count", {"inputs": [3]}, {"outputs": [3]}),
    ],
)
def test_rows_and_columns_are_answered_in_kind(rest, signature, body, answer):
    found = rest.predict(body, signature)
    assert (found.status, found.content_type) == (200, "application/json")
    assert found.json == answer


def test_infinity_and_nan_go_in_and_come_out(rest):
    found = rest.predict(b'{"signature_name": "scale", "instances": [Infinity, -Inf, NaN, 1]}')
    assert found.body == b'{\n    "predictions": [Infinity, -Infinity, NaN, 3.0\n    ]\n}'


def test_bytes_that_are_not_text_go_through(rest):
    found = rest.predict(b'{"signature_name": "look_up", "inputs": ["\xff\xfe"]}')
    assert b'"\xff\xfe"' in found.body


@pytest.mark.parametrize(
    ("signature", "body", "message"),
    [
        # Values of other types.
        ("scale", {"instances": ["a"]}, element('JSON Value: "a" Type: String is not of expected type: float')),
        ("scale", {"instances": [True]}, element("JSON Value: true Type: True is not of expected type: float")),
        ("scale", {"instances": [None]}, element("JSON Value: null Type: Null is not of expected type: float")),
        (
            "scale",
            {"instances": [{"b64": "aa"}]},
            element('JSON Value: {\n    "b64": "aa"\n} Type: Object is not of expected type: float'),
        ),
        ("count", {"inputs": [1.0]}, "JSON Value: 1.0 Type: Number is not of expected type: int32"),
        ("count", {"inputs": [1 << 31]}, "JSON Value: 2147483648 Type: Number is not of expected type: int32"),
        ("look_up", {"inputs": [7]}, "JSON Value: 7 Type: Number is not of expected type: string"),
        # Numbers that a float32 does not hold.
        (
            "scale",
            {"instances": [16777215, 16777216]},
            element("Cannot convert JSON value: 16777216 to float without loss of precision.", 1),
        ),
        (
            "scale",
            {"instances": [1e39]},
            element("Cannot convert JSON value: 1e+39 to float without loss of precision."),
        ),
        (
            "scale",
            {"instances": [10**60]},
            element("Cannot convert JSON value: 1e+60 to float without loss of precision."),
        ),
        # Shapes.
        ("scale", {"instances": [[1, 2], [3]]}, element("Expecting tensor size: 2 but got: 1", 1)),
        ("scale", {"instances": [[1, 2], [[1], [2]]]}, element("Expecting shape [2] but got: [2,1]", 1)),
        (
            "scale",
            {"instances": [[[1, 2], [3]]]},
            element("Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ),
        ("scale", {"inputs": [[1, 2], [3]]}, "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
        ("scale", {"inputs": [1, [2]]}, "Encountered list at unexpected level: 1 expected < 1"),
        (
            "scale",
            {"inputs": [[1, 2], 3]},
            "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
        ),
        # Names.
        ("scale", {"instances": [{"z": 1}]}, element("JSON object: does not have named input: z", key="z")),
        (
            None,
            {"instances": [{"x": 1, "k": 1}, {"x": 2}]},
            "Failed to process element: 1 of 'instances' list. JSON object: {\n    \"x\": 2\n} "
            "keys must be equal to: k,x",
        ),
        (
            None,
            {"instances": [{"x": 1, "k": "a"}]},
            element('JSON Value: "a" Type: String is not of expected type: int32', key="k"),
        ),
        (None, {"instances": [{"x": 1, "k": 1}, 2]}, "Expecting object but got list at item 1 of input list"),
        ("scale", {"instances": [1, {"x": 2}]}, "Expecting value/list but got object at item 1 of input list"),
        (
            None,
            {"instances": [1]},
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (
            None,
            {"inputs": [1]},
            "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
            "tensorinfo_map",
        ),
        (None, {"inputs": {"k": 1}}, "Missing named input: x in 'inputs' object."),
        # Base64.
        ("look_up", {"inputs": {"b64": "*"}}, "Unable to base64 decode"),
        ("look_up", {"inputs": {"b64": "a"}}, "Unable to base64 decode"),
        ("look_up", {"inputs": {"b64": "dHdv="}}, "Unable to base64 decode"),
        # The document.
        (
            None,
            {"instances": [1], "inputs": [1]},
            'JSON Value: {\n    "instances": [1],\n    "inputs": [1]\n} Not formatted correctly expecting only one '
            "of 'inputs' or 'instances' keys to exist ",
        ),
        (None, {}, "Missing 'inputs' or 'instances' key"),
        (
            "scale",
            {"instances": {}},
            'JSON Value: {\n    "signature_name": "scale",\n    "instances": {}\n} '
            "Expecting 'instances' to be an list/array",
        ),
        (None, {"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        (
            None,
            {"signature_name": 5},
            "JSON Value: {\n    \"signature_name\": 5\n} not formatted correctly. 'signature_name' key must be a "
            "string value.",
        ),
        ("nosuch", {"instances": [1]}, 'Serving signature name: "nosuch" not found in signature def'),
    ],
)
def test_a_wrong_request_gets_the_servers_words(rest, signature, body, message):
    found = rest.predict(body, signature)
    assert (found.status, found.content_type) == (400, "application/json")
    assert found.json == {"error": message}


@pytest.mark.parametrize("digits", ["dHdv", "dHc=", "dHc", "dA==", "dA", "d A = =", "dA..", ""])
def test_base64_may_lack_padding_and_have_white_space(rest, digits):
    decoded = base64.b64decode("".join(digits.split()).rstrip("=.") + "==")
    assert rest.predict({"inputs": {"b64": digits}}, "look_up").json["outputs"]["words"] == decoded.decode()


def test_what_the_graph_refuses_comes_with_the_graphs_words(rest):
    found = rest.predict({"inputs": [[1.0], [2.0]]}, "scale")
    assert found.status == 400
    assert "[2,1] is not compatible with expected shape [?]" in found.json["error"]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/v1/models/other:predict", 404, "Servable not found for request: Latest(other)"),
        ("/v1/models/scaler/versions/7:predict", 404, "Servable not found for request: Specific(scaler, 7)"),
        ("/v1/models/scaler/labels/beta:predict", 400, "Unrecognized servable version label: beta"),
    ],
)
def test_what_is_not_served_is_said_before_the_inputs_are_looked_at(rest, path, status, message):
    found = rest.predict({"instances": "nonsense"}, path=path)
    assert (found.status, found.json) == (status, {"error": message})


def test_batched_requests_are_answered_one_by_one(serve_rest, make_version, base):
    make_version(base / "1", 3.0)
    _, rest = serve_rest(model_base_path=base, enable_batching=True)
    assert rest.predict({"instances": [1, 2]}, "scale").json == {"predictions": [3.0, 6.0]}
    assert "at least one dimension" in rest.predict({"inputs": 1}, "scale").json["error"]


def test_content_that_grpc_gets_as_content_is_json_all_the_same(serve_rest, make_version, base):
    make_version(base / "1", 3.0)
    _, rest = serve_rest(model_base_path=base, enable_serialization_as_tensor_content=True)
    assert rest.predict({"instances": [1, 2]}, "scale").json == {"predictions": [3.0, 6.0]}
