"""TensorFlow's data types and how numpy holds them.

numpy has no bfloat16, float8 or 4-bit integers: they are received as float32, int8 and uint8, which hold each of their
values exactly.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.rpc.messages import DATA_TYPES

NAMES: dict[int, str] = {number: name.removeprefix("DT_").lower() for name, number in DATA_TYPES.items()}


@dataclass(frozen=True)
class Storage:
    """How a data type is encoded: as `dtype` in tensor_content, or as repeated values in a `field` of TensorProto."""

    dtype: np.dtype[Any]
    field: str


def _storage(dtype: str, field: str) -> Storage:
    return Storage(np.dtype(dtype), field)


STORAGE: dict[str, Storage] = {
    "float": _storage("<f4", "float_val"),
    "double": _storage("<f8", "double_val"),
    "half": _storage("<f2", "half_val"),
    "bfloat16": _storage("<u2", "half_val"),
    "int8": _storage("i1", "int_val"),
    "int16": _storage("<i2", "int_val"),
    "int32": _storage("<i4", "int_val"),
    "int64": _storage("<i8", "int64_val"),
    "uint8": _storage("u1", "int_val"),
    "uint16": _storage("<u2", "int_val"),
    "uint32": _storage("<u4", "uint32_val"),
    "uint64": _storage("<u8", "uint64_val"),
    "bool": _storage("?", "bool_val"),
    "complex64": _storage("<c8", "scomplex_val"),
    "complex128": _storage("<c16", "dcomplex_val"),
    "qint8": _storage("i1", "int_val"),
    "quint8": _storage("u1", "int_val"),
    "qint16": _storage("<i2", "int_val"),
    "quint16": _storage("<u2", "int_val"),
    "qint32": _storage("<i4", "int_val"),
    "int2": _storage("u1", "int_val"),
    "uint2": _storage("u1", "int_val"),
    "int4": _storage("u1", "int_val"),
    "uint4": _storage("u1", "int_val"),
    "float8_e5m2": _storage("u1", "float8_val"),
    "float8_e4m3fn": _storage("u1", "float8_val"),
    "float8_e4m3fnuz": _storage("u1", "float8_val"),
    "float8_e4m3b11fnuz": _storage("u1", "float8_val"),
    "float8_e5m2fnuz": _storage("u1", "float8_val"),
}

# The dtypes of TensorProto's repeated fields.
FIELD_DTYPES = {
    "float_val": np.float32,
    "double_val": np.float64,
    "half_val": np.int32,
    "int_val": np.int32,
    "int64_val": np.int64,
    "uint32_val": np.uint32,
    "uint64_val": np.uint64,
    "bool_val": np.bool_,
    "scomplex_val": np.float32,
    "dcomplex_val": np.float64,
}

# numpy's names where they differ from TensorFlow's.
_FROM_NUMPY = {"float32": "float", "float64": "double", "float16": "half"}
_TO_NUMPY = {name: numpy_name for numpy_name, name in _FROM_NUMPY.items()}

# Exponent bits, mantissa bits, bias. Of these, only e5m2 has infinities; "uz" has one NaN, at the place of minus zero.
_FLOAT8 = {
    "float8_e5m2": (5, 2, 15),
    "float8_e4m3fn": (4, 3, 7),
    "float8_e4m3fnuz": (4, 3, 8),
    "float8_e4m3b11fnuz": (4, 3, 11),
    "float8_e5m2fnuz": (5, 2, 16),
}


# The types that numpy lacks.
WIDENED = {"bfloat16", "int2", "uint2", "int4", "uint4", *_FLOAT8}


def type_name(number: int) -> str:
    """Name a DataType as numpy does where it can: 1 is "float32", 7 is "string", 14 is "bfloat16"."""
    name = NAMES.get(number, f"data type {number}")
    return _TO_NUMPY.get(name, name)


def type_number(name: str) -> int | None:
    """Return the DataType of a numpy or ml_dtypes dtype name, or None if TensorFlow has none."""
    return DATA_TYPES.get(f"DT_{_FROM_NUMPY.get(name, name)}".upper())


def sendable(name: str) -> bool:
    """Return whether a request can hold tensors of a type.

    Resources and variants mean nothing to another process. A resource tensor with values crashes a real server.
    """
    return name == "string" or NAMES.get(type_number(name) or 0) in STORAGE


@cache
def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return a dtype's name. It is cached because numpy takes 10 us to compute it."""
    return "string" if dtype.kind in "OSU" else dtype.name


@cache
def wire_type(dtype: np.dtype[Any]) -> tuple[int, np.dtype[Any], bool] | None:
    """Return an array dtype's DataType, the dtype that it is stored as, and whether its bits are reinterpreted as that.

    Returns None if TensorFlow has no such type.
    """
    number = type_number(dtype.name)
    if number is None or NAMES[number] not in STORAGE:
        return None
    stored = STORAGE[NAMES[number]].dtype
    return number, stored, dtype.name != stored.name


def widened(name: str, stored: NDArray[Any]) -> NDArray[Any]:
    """Return the values of a stored array of one of the types in WIDENED, in the next wider type that numpy has."""
    if name == "bfloat16":
        single: NDArray[Any] = (stored.astype(np.uint32) << 16).view(np.float32)
        return single
    if name in _FLOAT8:
        return np.take(_float8_values(name), stored)
    if name in ("int2", "int4"):
        unused = 8 - int(name[-1])
        signed: NDArray[Any] = (stored << unused).view(np.int8) >> unused
        return signed
    unsigned: NDArray[Any] = stored & (2 ** int(name[-1]) - 1)
    return unsigned


def rounded_to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return the bits of the nearest bfloat16, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, "<f4").view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), (bits >> 16).astype(np.uint16) | np.uint16(0x40), rounded)


@cache
def _float8_values(name: str) -> NDArray[np.float32]:
    exponent_bits, mantissa_bits, bias = _FLOAT8[name]
    code = np.arange(256)
    mantissa = code & (2**mantissa_bits - 1)
    exponent = (code >> mantissa_bits) & (2**exponent_bits - 1)
    normal = exponent > 0
    magnitude = np.ldexp(mantissa / 2**mantissa_bits + normal, np.where(normal, exponent, 1) - bias)
    values = np.where(code < 128, magnitude, -magnitude)
    if name.endswith("uz"):
        values[128] = np.nan
    elif name == "float8_e4m3fn":
        values[[127, 255]] = np.nan
    else:
        values[[124, 252]] = np.inf, -np.inf
        values[[125, 126, 127, 253, 254, 255]] = np.nan
    return np.asarray(values, np.float32)
