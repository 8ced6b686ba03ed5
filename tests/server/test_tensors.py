"""TensorProto to numpy and back."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2, types_pb2

from server.tensors import decode, encode

TYPES = [
    np.float32,
    np.float64,
    np.float16,
    tf.bfloat16.as_numpy_dtype,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
    np.complex64,
    np.complex128,
]


def proto(dtype, shape, **fields):
    dims = [tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in shape]
    return tensor_pb2.TensorProto(dtype=dtype, tensor_shape=tensor_shape_pb2.TensorShapeProto(dim=dims), **fields)


@pytest.mark.parametrize("dtype", TYPES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (2, 3)])
def test_every_type_survives_and_tensorflow_reads_it_as_we_do(dtype, as_content, shape):
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    written = encode(array, as_content=as_content)
    read = decode(written)
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)
    np.testing.assert_array_equal(tf.make_ndarray(written), array)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0)), st.booleans())
def test_any_floats_survive_to_the_bit(array, as_content):
    assert decode(encode(array, as_content=as_content)).tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=300), max_size=5), st.booleans())
def test_any_strings_survive(strings, as_content):
    array = np.array([*strings, None], object)[:-1]
    assert decode(encode(array, as_content=as_content)).tolist() == strings


def test_equal_values_are_written_once_but_signed_zeros_are_not_equal():
    assert list(encode(np.zeros((5, 8), np.float32)).float_val) == [0.0]
    assert list(encode(np.full(3, 7, np.int32)).int_val) == [7]
    assert len(encode(np.array([0.0, -0.0, 0.0], np.float32)).float_val) == 3


def test_too_few_values_are_filled_up_with_the_last_and_too_many_are_cut():
    assert decode(proto(types_pb2.DT_INT32, [4], int_val=[1, 2])).tolist() == [1, 2, 2, 2]
    assert decode(proto(types_pb2.DT_FLOAT, [2, 2])).tolist() == [[0, 0], [0, 0]]
    assert decode(proto(types_pb2.DT_STRING, [2])).tolist() == [b"", b""]
    assert decode(proto(types_pb2.DT_INT32, [1], int_val=[1, 2])).tolist() == [1]


@pytest.mark.parametrize(
    "broken",
    [
        proto(types_pb2.DT_INVALID, [1]),
        proto(types_pb2.DT_FLOAT_REF, [1], float_val=[1]),
        proto(types_pb2.DT_RESOURCE, [1]),
        proto(99999, [1]),
        proto(types_pb2.DT_FLOAT, [-1], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [2, -3, -1], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1] * 255, float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1 << 40, 1 << 40], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1 << 40, 1 << 40, 0]),
        proto(types_pb2.DT_FLOAT, [1 << 40]),
        proto(types_pb2.DT_STRING, [1 << 40]),
        proto(types_pb2.DT_FLOAT, [2], tensor_content=b"\0" * 7),
        proto(types_pb2.DT_FLOAT, [2], tensor_content=b"\0" * 12),
        proto(types_pb2.DT_STRING, [2], tensor_content=b"\x01\x05ab"),
        proto(types_pb2.DT_STRING, [3], tensor_content=b"\x01\x01ab"),
        proto(types_pb2.DT_STRING, [1], tensor_content=b"\xff\xff\xff\xff\xff\xff"),
        tensor_pb2.TensorProto(
            dtype=types_pb2.DT_FLOAT, tensor_shape=tensor_shape_pb2.TensorShapeProto(unknown_rank=True), float_val=[1]
        ),
    ],
)
def test_what_describes_no_tensor_is_refused_without_taking_memory(broken):
    with pytest.raises(ValueError, match=r"."):
        decode(broken)


@given(st.binary(max_size=200))
def test_any_message_is_read_or_refused(data):
    message = tensor_pb2.TensorProto()
    try:
        message.ParseFromString(data)
    except DecodeError:
        return
    with contextlib.suppress(ValueError):
        decode(message)
