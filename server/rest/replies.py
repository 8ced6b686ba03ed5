"""Response messages as JSON. Follows json_tensor.cc and http_rest_api_util.cc."""

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from server.answers import SIGNATURE_DEF
from server.errors import invalid_argument
from server.rest.numbers import write_doubles
from server.rest.writing import PrettyWriter
from server.tensors import decode, type_name

Array = np.ndarray[Any, Any]
_WRITABLE = (np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64)


def error_json(message: str) -> str:
    """Write an error."""
    return json.dumps({"error": message}, indent=4, ensure_ascii=False)


def predict_json(response: Any, *, in_rows: bool) -> str:
    """Write a PredictResponse, in rows or in columns, like the request."""
    outputs = {name: decode(tensor) for name, tensor in response.outputs.items()}
    if not outputs:
        raise invalid_argument("Cannot convert empty tensor map to JSON")
    if in_rows:
        return _rows_json(outputs)
    writer = PrettyWriter()
    writer.begin("{")
    writer.string("outputs")
    if len(outputs) == 1:
        name, values = next(iter(outputs.items()))
        _write(writer, _leaves(name, values), values.shape)
    else:
        writer.begin("{")
        for name, values in outputs.items():
            writer.string(name)
            _write(writer, _leaves(name, values), values.shape)
        writer.end()
    writer.end()
    return writer.text()


def classify_json(response: Any) -> str:
    """Write a ClassificationResponse: for each example a list of pairs of label and score."""
    writer = _results()
    for row in response.result.classifications:
        writer.single_line = True
        writer.begin("[")
        scores = write_doubles(np.array([entry.score for entry in row.classes], np.float32))
        for entry, score in zip(row.classes, scores, strict=True):
            writer.row([json.dumps(entry.label, ensure_ascii=False), score])
        writer.end()
        writer.single_line = False
    return _ended(writer)


def regress_json(response: Any) -> str:
    """Write a RegressionResponse: a number for each example."""
    writer = PrettyWriter()
    writer.begin("{")
    writer.string("results")
    writer.single_line = True
    writer.row(write_doubles(np.array([entry.value for entry in response.result.regressions], np.float32)))
    writer.end()
    return writer.text()


def status_json(response: Any) -> str:
    """Write a GetModelStatusResponse."""
    return _message_json(response) + "\n"


def metadata_json(response: Any) -> str:
    """Write a GetModelMetadataResponse."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata[SIGNATURE_DEF].Unpack(signatures)
    model_spec = _message_json(response.model_spec)
    return f'{{\n"model_spec":{model_spec}\n,\n"metadata": {{"signature_def": {_message_json(signatures)}\n}}\n}}\n'


def _message_json(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
        indent=1,
        ensure_ascii=False,
    )
    return text


def _rows_json(outputs: Mapping[str, Array]) -> str:
    rows = 0
    for name, values in outputs.items():
        if not values.ndim:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if not len(values):
            raise invalid_argument(f"Tensor name: {name} has invalid batch size: 0")
        if rows and rows != len(values):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(values)} expecting: {rows}")
        rows = len(values)
    writer = PrettyWriter()
    writer.begin("{")
    writer.string("predictions")
    writer.begin("[")
    columns = [(name, _leaves(name, values), values.shape[1:]) for name, values in outputs.items()]
    for _ in range(rows):
        if len(columns) > 1:
            writer.begin("{")
        writer.single_line = True
        for name, leaves, shape in columns:
            if len(columns) > 1:
                writer.string(name)
            _write(writer, leaves, shape)
        writer.single_line = False
        if len(columns) > 1:
            writer.end()
    return _ended(writer)


def _results() -> PrettyWriter:
    writer = PrettyWriter()
    writer.begin("{")
    writer.string("results")
    writer.begin("[")
    return writer


def _ended(writer: PrettyWriter) -> str:
    writer.end()
    writer.end()
    return writer.text()


def _write(writer: PrettyWriter, leaves: Iterator[str], shape: Sequence[int]) -> None:
    """Write the next leaves as nested lists of a shape."""
    if len(shape) > 1:
        writer.begin("[")
        for _ in range(shape[0]):
            _write(writer, leaves, shape[1:])
        writer.end()
    elif shape:
        writer.row(list(islice(leaves, shape[0])))
    else:
        writer.token(next(leaves))


def _leaves(name: str, values: Array) -> Iterator[str]:
    """Return the items as JSON; strings of an output whose name ends in `_bytes` as objects with base64."""
    if values.dtype in (np.float32, np.float64):
        return iter(write_doubles(values))
    flat = values.ravel().tolist()
    if values.dtype == np.object_ and name.endswith("_bytes"):
        return (f'{{"b64": "{base64.b64encode(item).decode()}"}}' for item in flat)
    if values.dtype == np.object_:
        return (json.dumps(item.decode("utf-8", "surrogateescape"), ensure_ascii=False) for item in flat)
    if values.dtype == np.bool_:
        return ("true" if item else "false" for item in flat)
    if values.dtype in _WRITABLE:
        return map(str, flat)
    raise invalid_argument(f"Failed to write JSON value for tensor type: {type_name(values.dtype)}")
