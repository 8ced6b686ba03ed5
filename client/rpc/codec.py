"""Convert arrays to TensorProto bytes and back.

Encoding writes a few header bytes around the array's own memory. The sender joins the parts once. With a protobuf
message, 19 MB of images would take twenty times as long. The field numbers are those of TensorFlow's tensor.proto and
tensor_shape.proto.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from client.errors import DecodeError, InputError
from client.rpc.dtypes import FIELD_DTYPES, NAMES, STORAGE, WIDENED, rounded_to_bfloat16, type_name, widened, wire_type
from client.rpc.messages import DATA_TYPES

Part = bytes | memoryview

# No message holds more. A tensor that claims to is one value repeated over an absurd shape.
_MAX_BYTES = 2**31
# The least that a string takes in an array of objects.
_POINTER_BYTES = 8


@lru_cache(maxsize=1024)
def varint(number: int) -> bytes:
    """Return a non-negative number in protobuf's variable-length encoding."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def field(number: int, content: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def size(parts: Sequence[Part]) -> int:
    """Return the number of bytes in all parts."""
    return sum(part.nbytes if isinstance(part, memoryview) else len(part) for part in parts)


def as_array(value: ArrayLike) -> NDArray[Any]:
    """Return the value as an array, strings as objects.

    Raises InputError if numpy cannot make a rectangular array of it.
    """
    if isinstance(value, np.ndarray):
        return value
    try:
        array = np.asarray(value)
        # numpy's own string type would drop trailing zero bytes, of which images have plenty.
        return np.asarray(value, dtype=object) if array.dtype.kind in "SU" else array
    except (ValueError, OverflowError, TypeError) as error:
        raise InputError(f"a value of type {type(value).__name__} makes no array: {error}") from error


def encode_tensor(value: ArrayLike, dtype: str | None = None) -> list[Part]:
    """Return a TensorProto's bytes in parts, to be joined by b"".join; the array is not copied.

    Args:
        value: an array of any shape, of any dtype that TensorProto has (including those of ml_dtypes), or strings.
        dtype: only "bfloat16" is allowed: float32 values are rounded to it.

    Raises:
        InputError: if a TensorProto cannot hold the value.

    Example:
        >>> sum(map(len, encode_tensor(np.zeros(100, np.uint8)))) < 120
        True
    """
    array = as_array(value)
    shape = array.shape
    if array.dtype.kind in "OSU":
        head = _header(DATA_TYPES["DT_STRING"], shape)
        return [head + b"".join(field(8, _as_bytes(item)) for item in array.reshape(-1).tolist())]
    wire = wire_type(array.dtype)
    if dtype == "bfloat16" and array.dtype == np.float32:
        array, wire = rounded_to_bfloat16(array), (DATA_TYPES["DT_BFLOAT16"], np.dtype("<u2"), False)
    if wire is None:
        raise InputError(f"an array of dtype {array.dtype} cannot be sent: TensorFlow has no such type")
    number, stored, reinterpreted = wire
    content = np.ascontiguousarray(array).view(stored) if reinterpreted else np.ascontiguousarray(array, stored)
    return [_content_header(number, shape, content.nbytes), content.data]


def decode_tensor(proto: Any) -> NDArray[Any]:
    """Return the array that a TensorProto message holds, strings as an object array of bytes.

    Reads both encodings: tensor_content, and repeated values, the last of which stands for all that are missing. Types
    that numpy lacks are returned as the next wider type. Raises DecodeError if the contents do not fit the shape, and
    for resource and variant tensors.
    """
    name = NAMES.get(proto.dtype, "")
    declared = proto.tensor_shape
    shape = tuple([dim.size for dim in declared.dim])
    if declared.unknown_rank or min(shape, default=0) < 0:
        raise DecodeError(f"a tensor of shape {list(shape)} cannot be read: its shape is not fully known")
    if name == "string":
        return _decode_strings(proto, shape)
    if name not in STORAGE:
        raise DecodeError(f"a tensor of type {type_name(proto.dtype)} cannot be read as an array")
    storage = STORAGE[name]
    count = _count(shape, storage.dtype.itemsize)
    content = proto.tensor_content
    if content:
        if len(content) != count * storage.dtype.itemsize:
            raise DecodeError(
                f"a {type_name(proto.dtype)} tensor of shape {list(shape)} came with {len(content)} bytes instead of "
                f"{count * storage.dtype.itemsize}"
            )
        stored = np.frombuffer(bytearray(content), storage.dtype)
    else:
        stored = _filled(_repeated(proto, storage.field, storage.dtype), count, shape)
    return (widened(name, stored) if name in WIDENED else stored).reshape(shape)


def _header(dtype: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(field(2, b"\x08" + varint(length)) for length in shape)
    return b"\x08" + varint(dtype) + field(2, dims)


@lru_cache(maxsize=256)
def _content_header(dtype: int, shape: tuple[int, ...], length: int) -> bytes:
    return _header(dtype, shape) + varint(4 << 3 | 2) + varint(length)


def _as_bytes(item: Any) -> bytes:
    if isinstance(item, bytes):
        return item
    try:
        return str.encode(item)
    except (TypeError, UnicodeEncodeError) as error:
        raise InputError(f"an array of objects holds {item!r}: only bytes and UTF-8 text can be sent") from error


def _count(shape: tuple[int, ...], itemsize: int) -> int:
    count = math.prod(shape)
    # numpy refuses a shape that is too large even if one of its dimensions is 0.
    if math.prod(length or 1 for length in shape) * itemsize > _MAX_BYTES:
        raise DecodeError(f"a tensor of shape {list(shape)} cannot be read: it is larger than any message")
    return count


def _repeated(proto: Any, name: str, dtype: np.dtype[Any]) -> NDArray[Any]:
    if name == "float8_val":
        return np.frombuffer(proto.float8_val, dtype)
    repeated = getattr(proto, name)
    # protobuf's own conversion costs 4 us, cold 18, but is a hundred times faster for many values.
    values: NDArray[Any] = np.array(repeated[:] if len(repeated) < 64 else repeated, FIELD_DTYPES[name])
    if name == "half_val":  # the bits of each half, as integers
        return values.astype(np.uint16).view(dtype)
    if dtype.kind == "c":  # real and imaginary parts in turn
        return values[: values.size // 2 * 2].view(dtype)
    return values.astype(dtype, copy=False)


def _filled(values: NDArray[Any], count: int, shape: tuple[int, ...]) -> NDArray[Any]:
    if values.size == count:
        return values
    if values.size > count:
        raise DecodeError(f"a tensor of shape {list(shape)} came with {values.size} values instead of {count}")
    if values.size == 0:
        return np.zeros(count, values.dtype)
    return np.concatenate([values, np.full(count - values.size, values[-1], values.dtype)])


def _decode_strings(proto: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    count = _count(shape, _POINTER_BYTES)
    strings = _split(proto.tensor_content, count) if proto.tensor_content else list(proto.string_val)
    values = np.empty(len(strings), object)
    values[:] = strings
    return (_filled(values, count, shape) if strings else np.full(count, b"", object)).reshape(shape)


def _split(content: bytes, count: int) -> list[bytes]:
    """Return the strings of a tensor_content: first their lengths as varints, then their bytes."""
    lengths: list[int] = []
    position = length = shift = 0
    while len(lengths) < count and position < len(content):
        byte = content[position]
        length |= (byte & 0x7F) << shift
        shift += 7
        position += 1
        if byte < 0x80:
            lengths.append(length)
            length = shift = 0
    if len(lengths) < count or position + sum(lengths) != len(content):
        raise DecodeError(f"a tensor of {count} strings came with a tensor_content that does not hold them")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings
