"""Convert TensorProtos to numpy arrays and back, as the server's Tensor does, without a Python loop over numbers.

A TensorProto is read as tensorflow/core/framework/tensor.cc does (Tensor::FromProto): values come from tensor_content,
which must have exactly the bytes of the shape, or from the field of the type, which may be too short (the last value
repeats), empty (zeros) or too long (the rest is ignored).
"""

import math
from typing import Any

import ml_dtypes
import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

# A request may state a shape without its values; the real server then tries to allocate it. The stand-in has a limit,
# so that a few bytes cannot fill the memory of the machine.
MAX_FILLED_BYTES = 1 << 28
_STRING_BYTES = 24
Array = np.ndarray[Any, Any]

_MAX_DIMENSIONS = 254
_MAX_ELEMENTS = (1 << 63) - 1

_FIELDS: dict[int, tuple[Any, str]] = {
    types_pb2.DT_FLOAT: (np.float32, "float_val"),
    types_pb2.DT_DOUBLE: (np.float64, "double_val"),
    types_pb2.DT_INT32: (np.int32, "int_val"),
    types_pb2.DT_UINT8: (np.uint8, "int_val"),
    types_pb2.DT_INT16: (np.int16, "int_val"),
    types_pb2.DT_INT8: (np.int8, "int_val"),
    types_pb2.DT_UINT16: (np.uint16, "int_val"),
    types_pb2.DT_UINT32: (np.uint32, "uint32_val"),
    types_pb2.DT_UINT64: (np.uint64, "uint64_val"),
    types_pb2.DT_INT64: (np.int64, "int64_val"),
    types_pb2.DT_BOOL: (np.bool_, "bool_val"),
    types_pb2.DT_HALF: (np.float16, "half_val"),
    types_pb2.DT_BFLOAT16: (ml_dtypes.bfloat16, "half_val"),
    types_pb2.DT_COMPLEX64: (np.complex64, "scomplex_val"),
    types_pb2.DT_COMPLEX128: (np.complex128, "dcomplex_val"),
    types_pb2.DT_STRING: (np.object_, "string_val"),
}
_TYPES = {np.dtype(dtype): number for number, (dtype, _) in _FIELDS.items()}


def decode(proto: Any) -> Array:
    """Return the array that a TensorProto describes; strings become an object array of bytes.

    Raises:
        ValueError: if it does not describe a tensor: an unknown type or rank, a negative or overflowing dimension, or a
            tensor_content of the wrong length.

    Example:
        >>> decode(encode(np.array([7, 7], np.int32))).tolist()
        [7, 7]

    """
    if proto.dtype not in _FIELDS:
        raise ValueError(f"type {proto.dtype} cannot be read")
    dtype, field = _FIELDS[proto.dtype]
    shape = _shape(proto.tensor_shape)
    size = math.prod(shape)
    if proto.tensor_content and size:
        if dtype is np.object_:
            return _strings(_split_content(proto.tensor_content, size), shape)
        # This, too, raises ValueError if there is a part of a number.
        content: Array = np.frombuffer(proto.tensor_content, dtype)
        if content.size != size:
            raise ValueError(f"{content.size} numbers for shape {list(shape)}")
        return content.reshape(shape)
    values = _from_field(getattr(proto, field), dtype)[:size]
    if values.size < size:
        if size * (_STRING_BYTES if dtype is np.object_ else np.dtype(dtype).itemsize) > MAX_FILLED_BYTES:
            raise ValueError(f"shape {list(shape)} is too large to be filled")
        last = values[-1] if values.size else _zero(dtype)
        filled = np.empty(size, dtype)
        filled[: values.size] = values
        filled[values.size :] = last
        values = filled
    return values.reshape(shape)


def encode(array: np.ndarray, *, as_content: bool = False) -> Any:
    """Make the TensorProto of an array, in the field of its type, or in tensor_content.

    If all values are equal, the field holds one, as the server writes it. Strings in tensor_content are preceded by
    their lengths, all of them first.

    Raises:
        KeyError: if a TensorProto cannot have the type of the array.

    """
    proto = tensor_pb2.TensorProto()
    encode_into(proto, array, as_content=as_content)
    return proto


def encode_into(proto: Any, array: np.ndarray, *, as_content: bool = False) -> None:
    """Fill an empty TensorProto with an array, as `encode` does."""
    number = _TYPES[array.dtype]
    proto.dtype = number
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if array.dtype == np.object_:
        strings = array.ravel().tolist()
        if as_content:
            proto.tensor_content = b"".join([_varint(len(string)) for string in strings] + strings)
        else:
            proto.string_val.extend(strings)
        return
    content = array.tobytes()
    if as_content:
        proto.tensor_content = content
        return
    _, field = _FIELDS[number]
    if _is_one_value(content, array.dtype.itemsize):
        content = content[: array.dtype.itemsize]
    if field in _PACKED_TAGS:
        # A serialized packed field: its tag, its length, its bytes. Many times faster than extend() of a list.
        proto.MergeFromString(_PACKED_TAGS[field] + _varint(len(content)) + content)
    else:
        bits = np.uint16 if field == "half_val" else array.dtype
        getattr(proto, field).extend(np.frombuffer(content, bits).tolist())


def type_name(dtype: Any) -> str:
    """Return the name of an array's type in TensorFlow's C++ messages, for example `float` for float32."""
    names = {"float32": "float", "float64": "double", "float16": "half", "object": "string"}
    name: str = np.dtype(dtype).name
    return names.get(name, name)


def data_type_name(array: Array) -> str:
    """Return the type of an array as protobuf names it, for example `DT_INT64`."""
    return f"DT_{type_name(array.dtype).upper()}"


def shape_text(array: Array) -> str:
    """Return a shape as TensorFlow's messages write it, for example `[2,3]`."""
    return f"[{','.join(map(str, array.shape))}]"


_PACKED_TAGS = {
    name: bytes([tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name[name].number << 3 | 2])
    for name in ("float_val", "double_val", "scomplex_val", "dcomplex_val")
}


def _shape(proto: Any) -> tuple[int, ...]:
    if proto.unknown_rank:
        raise ValueError("a shape of unknown rank")
    shape = tuple([dim.size for dim in proto.dim])
    if len(shape) > _MAX_DIMENSIONS or min(shape, default=0) < 0:
        raise ValueError(f"{list(shape)} is not a shape")
    elements = 1
    for size in shape:
        # Dimension by dimension, as the server does: a later 0 does not undo an earlier overflow.
        elements *= size
        if elements > _MAX_ELEMENTS:
            raise ValueError(f"shape {list(shape)} has too many elements")
    return shape


def _from_field(field: Any, dtype: Any) -> np.ndarray:
    if dtype is np.object_:
        return _strings(list(field), (len(field),))
    if dtype in (np.float16, ml_dtypes.bfloat16):
        return np.array(field, np.int64).astype(np.uint16).view(dtype)
    if dtype in (np.complex64, np.complex128):
        part = np.float32 if dtype is np.complex64 else np.float64
        return np.array(field[: len(field) // 2 * 2], part).view(dtype)
    if dtype in (np.uint8, np.int8, np.int16, np.uint16):
        return np.array(field, np.int64).astype(dtype)
    return np.array(field, dtype)


def _zero(dtype: Any) -> Any:
    return b"" if dtype is np.object_ else np.zeros((), dtype)[()]


def _strings(values: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), np.object_)
    array[:] = values
    return array.reshape(shape)


def _split_content(content: bytes, size: int) -> list[bytes]:
    """Return the strings of a tensor_content: `size` lengths as varints, then the bytes of all."""
    lengths = []
    position = 0
    for _ in range(size):
        length = shift = 0
        while True:
            if position >= len(content) or shift > 28:
                raise ValueError(f"tensor_content does not hold {size} lengths")
            byte = content[position]
            position += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if position + sum(lengths) != len(content):
        raise ValueError(f"tensor_content does not hold {size} strings")
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    return strings


def _is_one_value(content: bytes, width: int) -> bool:
    """Return whether all items of this width are the same bytes; in most tensors, the first and the last differ."""
    return content[:width] == content[-width:] and content == content[:width] * (len(content) // width)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
