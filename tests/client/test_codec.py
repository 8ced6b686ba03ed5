import numpy as np
import pytest

from client.errors import DecodeError, InputError
from client.rpc.codec import decode_tensor, encode_tensor
from client.rpc.dtypes import STORAGE, type_number
from client.rpc.messages import DATA_TYPES, TensorProto

NUMPY_TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


def proto(value, dtype=None):
    return TensorProto.FromString(b"".join(encode_tensor(value, dtype)))


def through(value):
    return decode_tensor(proto(value))


def test_text_is_sent_as_utf8_and_trailing_zero_bytes_are_kept():
    assert through(["é", "b"]).tolist() == ["é".encode(), b"b"]
    assert through([b"a\0\0", b"\0"]).tolist() == [b"a\0\0", b"\0"]
    assert through(b"x\0").item() == b"x\0"


@pytest.mark.parametrize("dtype", [">f4", ">i8", ">c8", ">f2", ">u2"])
def test_byte_swapped_and_strided_arrays_are_sent_by_value(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for view in (array, array.T, array[:, ::-1, ::2], np.broadcast_to(array[:1], (3, 3, 4)), np.asfortranarray(array)):
        np.testing.assert_array_equal(through(view), view)


def test_a_decoded_array_can_be_written_to():
    decoded = through(np.zeros(3, np.float32))
    decoded[0] = 1
    assert decoded[0] == 1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.zeros(2, "datetime64[s]"), "no such type"),
        (np.zeros(2, [("a", "i4")]), "no such type"),
        (np.zeros(2, np.longdouble), "no such type"),
        (np.array([1, None], object), "holds 1"),
        ([[1], [1, 2]], "makes no array"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_the_reason(value, reason):
    with pytest.raises(InputError, match=reason):
        encode_tensor(value)


@pytest.mark.parametrize("name", sorted(set(STORAGE) - {"int2", "uint2"}))
def test_repeated_values_are_read_like_tensor_content(name):
    storage = STORAGE[name]
    bits = np.arange(1, 4).astype(storage.dtype)
    content = TensorProto(dtype=DATA_TYPES[f"DT_{name.upper()}"], tensor_content=bits.tobytes())
    content.tensor_shape.dim.add(size=3)
    repeated = TensorProto(dtype=content.dtype, tensor_shape=content.tensor_shape)
    if storage.field == "float8_val":
        repeated.float8_val = bits.tobytes()
    elif name == "half":
        repeated.half_val.extend(bits.view(np.uint16).tolist())
    elif storage.dtype.kind == "c":
        getattr(repeated, storage.field).extend(bits.view(bits.real.dtype).tolist())
    else:
        getattr(repeated, storage.field).extend(bits.tolist())
    assert decode_tensor(repeated).tobytes() == decode_tensor(content).tobytes()
    assert decode_tensor(repeated).dtype == decode_tensor(content).dtype


@pytest.mark.parametrize(
    ("values", "expected"),
    [([], [0, 0, 0, 0]), ([7], [7, 7, 7, 7]), ([1, 2], [1, 2, 2, 2]), ([1, 2, 3, 4], [1, 2, 3, 4])],
)
def test_the_last_repeated_value_stands_for_those_missing(values, expected):
    for name, field in (("float32", "float_val"), ("int64", "int64_val"), ("bool", "bool_val"), ("int8", "int_val")):
        message = TensorProto(dtype=type_number(name))
        getattr(message, field).extend(values)
        message.tensor_shape.dim.add(size=2)
        message.tensor_shape.dim.add(size=2)
        wanted = np.array(expected).astype(name).reshape(2, 2)
        np.testing.assert_array_equal(decode_tensor(message), wanted, strict=True)


def test_strings_are_read_from_tensor_content_too():
    long = b"x" * 300
    message = TensorProto(dtype=type_number("string"), tensor_content=b"\x01\xac\x02\x00" + b"a" + long)
    message.tensor_shape.dim.add(size=3)
    assert decode_tensor(message).tolist() == [b"a", long, b""]


@pytest.mark.parametrize(
    "fields",
    [
        {"dtype": 1, "tensor_content": b"123"},
        {"dtype": 1, "float_val": [1, 2, 3]},
        {"dtype": 7, "string_val": [b"a", b"b", b"c"]},
        {"dtype": 7, "tensor_content": b"\x01\x09a"},
        {"dtype": 20},
        {"dtype": 21},
        {"dtype": 0},
        {"dtype": 101, "float_val": [1]},
    ],
)
def test_contents_that_do_not_fit_are_refused(fields):
    message = TensorProto(**fields)
    message.tensor_shape.dim.add(size=2)
    with pytest.raises(DecodeError):
        decode_tensor(message)


def test_shapes_that_no_message_can_fill_are_refused():
    for shape in ((2**20, 2**20), (2**62, 0), (2**40, 0, 2**40)):
        message = TensorProto(dtype=1, float_val=[1] if all(shape) else [])
        for size in shape:
            message.tensor_shape.dim.add(size=size)
        with pytest.raises(DecodeError, match="larger than any message"):
            decode_tensor(message)
    message = TensorProto(dtype=1, float_val=[1])
    message.tensor_shape.dim.add(size=-1)
    with pytest.raises(DecodeError, match="not fully known"):
        decode_tensor(message)


def test_float32_is_rounded_to_the_nearest_bfloat16():
    values = np.array([1.0, 1.00390625, 1.01171875, -3.3895314e38, np.inf, np.nan, 1e-40], np.float32)
    message = proto(values, "bfloat16")
    assert message.dtype == type_number("bfloat16")
    decoded = decode_tensor(message)
    np.testing.assert_array_equal(decoded[:5], np.array([1.0, 1.0, 1.015625, -3.3895314e38, np.inf], np.float32))
    assert np.isnan(decoded[5])


@pytest.mark.parametrize(
    "name",
    [
        "bfloat16",
        "float8_e5m2",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2fnuz",
        "int4",
        "uint4",
        "int2",
        "uint2",
    ],
)
def test_types_that_numpy_lacks_hold_the_values_that_ml_dtypes_gives_them(name):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes comes with TensorFlow")
    if name == "bfloat16":
        array = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    elif name.startswith("float8"):
        array = np.arange(256, dtype=np.uint8).view(getattr(ml_dtypes, name))
    else:
        array = np.arange(-8 if name[0] == "i" else 0, 8).astype(getattr(ml_dtypes, name))
    decoded = through(array)
    expected = array.astype(decoded.dtype)
    np.testing.assert_array_equal(decoded, expected)


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow", reason="compares with TensorFlow, which is not installed")


@pytest.mark.parametrize("dtype", [*NUMPY_TYPES, "bfloat16", "float8_e5m2", "float8_e4m3fn"])
def test_tensorflow_reads_what_is_encoded_and_is_read(tf, dtype):
    as_numpy = tf.dtypes.as_dtype(np.dtype(dtype).name if len(dtype) < 4 else dtype).as_numpy_dtype
    for shape in ((), (0,), (2, 0, 3), (3,), (2, 2)):
        array = np.arange(int(np.prod(shape))).reshape(shape).astype(as_numpy)
        theirs = tf.make_tensor_proto(array)
        ours = type(theirs).FromString(b"".join(encode_tensor(array)))
        assert ours.tensor_shape == theirs.tensor_shape
        np.testing.assert_array_equal(tf.make_ndarray(ours), array, strict=True)
        read = decode_tensor(TensorProto.FromString(theirs.SerializeToString()))
        np.testing.assert_array_equal(read, array.astype(read.dtype), strict=True)


def test_tensorflow_reads_the_strings_encoded(tf):
    array = np.array([[b"a", b""], [b"\0\xff", b"long" * 99]], object)
    theirs = tf.make_tensor_proto(array)
    ours = type(theirs).FromString(b"".join(encode_tensor(array)))
    assert tf.make_ndarray(ours).tolist() == array.tolist()
    assert decode_tensor(TensorProto.FromString(theirs.SerializeToString())).tolist() == array.tolist()
