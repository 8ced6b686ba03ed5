"""The examples of a Classify or Regress request in JSON. Follows json_tensor.cc."""

from typing import Any

from tensorflow.core.framework import types_pb2

from server.errors import ServingError, invalid_argument
from server.rest.documents import Document
from server.rest.tensors import wrong_format
from server.rest.values import as_name, check_lossless, decode_base64, encode_text, is_base64, json_type

_KIND_WORDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64", None: "UNKNOWN"}


def fill_examples(document: Document, request: Any) -> None:
    """Fill the input of a ClassificationRequest or RegressionRequest."""
    given = request.input
    has_context = "context" in document
    if has_context:
        _fill_example(document["context"], given.example_list_with_context.context)
    if "examples" not in document:
        raise wrong_format(document, "When method is classify, key 'examples' is expected and was not found")
    if not isinstance(document["examples"], list):
        raise wrong_format(document, "Expecting 'examples' value to be an list/array")
    if not document["examples"]:
        raise wrong_format(document, "'examples' value is an empty array")
    examples = (given.example_list_with_context if has_context else given.example_list).examples
    for value in document["examples"]:
        _fill_example(value, examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {json_type(value)}")
    for name, content in value.items():
        feature = example.features.feature[as_name(name)]
        for item in content if isinstance(content, list) else [content]:
            _add_value(item, name, feature)


def _add_value(value: Any, name: str, feature: Any) -> None:
    if isinstance(value, bool):
        _list(feature, "int64_list", name).append(int(value))
    elif isinstance(value, str):
        _list(feature, "bytes_list", name).append(encode_text(value))
    elif is_base64(value):
        _list(feature, "bytes_list", name).append(decode_base64(value))
    elif isinstance(value, int):
        integers = _list(feature, "int64_list", name)
        if value >= 1 << 63:
            raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
        integers.append(value)
    elif isinstance(value, float):
        floats = _list(feature, "float_list", name)
        check_lossless(value, types_pb2.DT_FLOAT)
        floats.append(value)
    else:
        raise invalid_argument(f"Feature: {name} has element with unexpected JSON type: {json_type(value)}")


def _list(feature: Any, kind: str, name: str) -> Any:
    """Return the list of a feature for values of a kind, unless it already holds another kind."""
    found = feature.WhichOneof("kind")
    if found not in (None, kind):
        raise _other_kind(name, found)
    return getattr(feature, kind).value


def _other_kind(name: str, found: str) -> ServingError:
    return invalid_argument(f"Unexpected element type in feature: {name} expecting type: {_KIND_WORDS[found]}")
