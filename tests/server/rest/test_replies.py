"""Outputs as JSON that no model of these tests has: bytes, other types, and rows that do not fit."""

import json

import ml_dtypes
import numpy as np
import pytest
from tensorflow_serving.apis import predict_pb2

from server.errors import ServingError
from server.rest.replies import predict_json
from server.tensors import encode


def written(in_rows, **outputs):
    response = predict_pb2.PredictResponse()
    for name, value in outputs.items():
        response.outputs[name].CopyFrom(encode(np.asarray(value)))
    return predict_json(response, in_rows=in_rows)


def strings(*values):
    return np.array(values, object)


def test_bytes_are_objects_with_base64_where_the_name_says_so():
    assert json.loads(written(True, a_bytes=strings(b"\xff", b""))) == {"predictions": [{"b64": "/w=="}, {"b64": ""}]}
    assert json.loads(written(False, a_bytes=strings(b"\xff"))) == {"outputs": [{"b64": "/w=="}]}
    assert json.loads(written(True, a_bytes=strings(b"x").reshape(1, 1))) == {"predictions": [[{"b64": "eA=="}]]}
    assert json.loads(written(True, a=strings(b"x"), b_bytes=[1])) == {"predictions": [{"a": "x", "b_bytes": 1}]}
    assert json.loads(written(False, a_bytes=np.array(b"x", object))) == {"outputs": {"b64": "eA=="}}


@pytest.mark.parametrize(
    "dtype", [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint32, np.uint64, np.float32, np.float64, np.bool_]
)
def test_numbers_of_all_widths_are_written(dtype):
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else None
    values = np.array([0, 1] if limits is None else [limits.min, limits.max], dtype)
    assert json.loads(written(False, a=values)) == {"outputs": values.tolist()}


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(np.float16, "half"), (ml_dtypes.bfloat16, "bfloat16"), (np.uint16, "uint16"), (np.complex64, "complex64")],
)
def test_other_types_cannot_be_written(dtype, name):
    with pytest.raises(ServingError, match=f"Failed to write JSON value for tensor type: {name}"):
        written(True, a=np.ones(1, dtype))


def test_lists_are_laid_out_as_the_server_does():
    values = np.arange(4, dtype=np.int32).reshape(2, 1, 2)
    assert written(True, a=values) == '{\n    "predictions": [[[0, 1]], [[2, 3]]\n    ]\n}'
    nested = "\n".join(["[", "        [", "            [", "                0,", "                1", "            ]"])
    assert written(False, a=values).startswith('{\n    "outputs": ' + nested)
    assert written(False, a=np.zeros((0, 2), np.int32)) == '{\n    "outputs": []\n}'
    assert written(True, a=np.zeros((1, 0), np.int32)) == '{\n    "predictions": [[]\n    ]\n}'


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"a": 1}, "Tensor name: a has no shape information "),
        ({"a": np.zeros((0, 2), np.int32)}, "Tensor name: a has invalid batch size: 0"),
        ({"a": [1, 2], "b": [1]}, "has inconsistent batch size: "),
    ],
)
def test_outputs_that_do_not_form_rows_are_refused(outputs, message):
    with pytest.raises(ServingError) as caught:
        written(True, **outputs)
    assert message in caught.value.message
