"""Rows and columns taken at once are those taken one by one, and only right ones are."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import predict_pb2

from server.errors import ServingError
from server.rest.tensors import _rows_at_once, _rows_one_by_one, _tensor, _tensor_at_once, fill_predict_request
from server.tensors import decode

TYPES = [
    *(types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT8, types_pb2.DT_INT32, types_pb2.DT_UINT8),
    *(types_pb2.DT_INT64, types_pb2.DT_UINT32, types_pb2.DT_UINT64, types_pb2.DT_BOOL, types_pb2.DT_STRING),
    *(types_pb2.DT_HALF, types_pb2.DT_RESOURCE),
]
leaves = st.one_of(
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.sampled_from([0, 1, 2.5, 1 << 24, 1e39, math.nan, math.inf, True, None, "a", {"b64": "YQ=="}, {"b64": "*"}]),
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3), max_leaves=8)


def outcome(make, *arguments):
    """What a function returns, or the message that it raises."""
    try:
        return make(*arguments)
    except ServingError as error:
        return error.message


def same_bits(left, right):
    return left.SerializeToString(deterministic=True) == right.SerializeToString(deterministic=True)


def test_uniform_numbers_are_taken_at_once():
    assert _tensor_at_once([[1.5, 2], [3, 4]], types_pb2.DT_FLOAT) is not None
    assert _rows_at_once([{"x": [1]}, {"x": [2]}], {"x": types_pb2.DT_INT32}) is not None


@given(values, st.sampled_from(TYPES))
def test_a_tensor_at_once_is_the_tensor(value, data_type):
    at_once, slowly = _tensor_at_once(value, data_type), outcome(_tensor, value, data_type)
    assert at_once is None or same_bits(at_once, slowly)


@given(
    st.lists(st.one_of(values, st.dictionaries(st.sampled_from("xy"), values, max_size=2)), min_size=1, max_size=4),
    st.lists(st.sampled_from(TYPES), min_size=1, max_size=2),
)
def test_rows_at_once_are_the_rows(instances, types):
    types = dict(zip("xy", types, strict=False))
    at_once, slowly = _rows_at_once(instances, types), outcome(_rows_one_by_one, instances, types)
    assert at_once is None or (
        at_once.keys() == slowly.keys() and all(same_bits(at_once[name], slowly[name]) for name in at_once)
    )


def test_numbers_lose_what_their_type_does_not_hold():
    request = predict_pb2.PredictRequest()
    infos = {"x": SimpleNamespace(dtype=types_pb2.DT_UINT8)}
    assert fill_predict_request({"instances": [[1, 300], [-1, 0]]}, infos, request)
    assert decode(request.inputs["x"]).tolist() == [[1, 44], [255, 0]]


@pytest.mark.parametrize(
    ("data_type", "name"),
    [(types_pb2.DT_HALF, "half"), (types_pb2.DT_UINT16, "uint16"), (types_pb2.DT_RESOURCE, "resource")],
)
def test_types_that_json_cannot_bring_are_named(data_type, name):
    infos = {"x": SimpleNamespace(dtype=data_type)}
    with pytest.raises(ServingError, match=f"Conversion of JSON Value: 1 to type: {name}") as caught:
        fill_predict_request({"inputs": [1]}, infos, predict_pb2.PredictRequest())
    assert caught.value.code.name == "UNIMPLEMENTED"


def test_a_signature_without_inputs_cannot_be_asked():
    request = predict_pb2.PredictRequest()
    with pytest.raises(ServingError, match="Failed to get input map for signature: DEFAULT"):
        fill_predict_request({"inputs": {}}, {}, request)
