"""Single JSON values, and which of them TensorFlow types take. Follows json_tensor.cc."""

import base64
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from tensorflow.core.framework import types_pb2

from server.errors import ServingError, invalid_argument
from server.rest.writing import show

_BASE64 = re.compile(r"([A-Za-z0-9+/]*)([=.]*)")
_TYPE_NAMES = {type(None): "Null", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
_NUMBER = frozenset({int, float})
_WHOLE = frozenset({int})
_INT32, _INT64, _UINT64 = range(-(1 << 31), 1 << 31), range(-(1 << 63), 1 << 63), range(1 << 64)


@dataclass(frozen=True)
class Kind:
    """The numpy type for a TensorFlow type, and the JSON values that it takes.

    Attributes:
        dtype: numpy's type.
        types: Python's types of the JSON values.
        whole: the range of integers, if it takes only integers.

    """

    dtype: Any
    types: frozenset[type]
    whole: range | None = None

    def accepts(self, value: Any) -> bool:
        """Return whether a JSON value is of this kind, even if it is too precise a number."""
        return type(value) in self.types and (self.whole is None or value in self.whole)

    def accepts_all(self, values: Sequence[Any]) -> bool:
        """Return whether all values are of this kind and none of them is too precise."""
        types = set(map(type, values))
        if not types <= self.types:
            return False
        if self.whole is not None:
            return not values or (min(values) in self.whole and max(values) in self.whole)
        if not types & _NUMBER:
            return True
        whole = [value for value in values if type(value) is int]
        sizes = np.abs(np.array(values, np.float64))
        is_small = not np.any(np.isfinite(sizes) & (sizes > np.finfo(self.dtype).max))
        return is_small and (not whole or (self.holds(min(whole)) and self.holds(max(whole))))

    def holds(self, value: float) -> bool:
        """Return whether a number keeps its value: integers are judged by their bits, others by their size."""
        limits = np.finfo(self.dtype)
        bound = (1 << (int(limits.nmant) + 1)) - 1 if type(value) is int else float(limits.max)
        return not math.isfinite(value) or abs(value) <= bound


KINDS = {
    types_pb2.DT_FLOAT: Kind(np.float32, _NUMBER),
    types_pb2.DT_DOUBLE: Kind(np.float64, _NUMBER),
    types_pb2.DT_INT8: Kind(np.int8, _WHOLE, _INT32),
    types_pb2.DT_INT16: Kind(np.int16, _WHOLE, _INT32),
    types_pb2.DT_INT32: Kind(np.int32, _WHOLE, _INT32),
    types_pb2.DT_UINT8: Kind(np.uint8, _WHOLE, _INT32),
    types_pb2.DT_UINT32: Kind(np.uint32, _WHOLE, range(1 << 32)),
    types_pb2.DT_INT64: Kind(np.int64, _WHOLE, _INT64),
    types_pb2.DT_UINT64: Kind(np.uint64, _WHOLE, _UINT64),
    types_pb2.DT_BOOL: Kind(np.bool_, frozenset({bool})),
    types_pb2.DT_STRING: Kind(np.object_, frozenset({str})),
}


def check_value(value: Any, data_type: int) -> None:
    """Refuse a JSON value, neither list nor object, that does not fit a TensorFlow type."""
    if data_type not in KINDS:
        raise ServingError(
            grpc.StatusCode.UNIMPLEMENTED,
            f"Conversion of JSON Value: {show(value)} to type: {_name(data_type)}",
        )
    kind = KINDS[data_type]
    if not kind.accepts(value):
        raise wrong_type(value, data_type)
    if int in kind.types and not kind.whole:
        check_lossless(value, data_type)


def check_lossless(value: float, data_type: int) -> None:
    """Refuse a number that a floating-point type cannot hold."""
    if not KINDS[data_type].holds(value):
        raise invalid_argument(
            f"Cannot convert JSON value: {show(value)} to {_name(data_type)} without loss of precision."
        )


def wrong_type(value: Any, data_type: int) -> ServingError:
    """Return the error for a JSON value whose type is not that of the tensor."""
    return invalid_argument(
        f"JSON Value: {show(value)} Type: {json_type(value)} is not of expected type: {_name(data_type)}"
    )


def to_array(values: Iterable[Any], data_type: int) -> np.ndarray[Any, Any]:
    """Make a flat array of checked values; strings may be bytes already."""
    kind = KINDS[data_type]
    if kind.dtype is np.object_:
        strings = [value if isinstance(value, bytes) else encode_text(value) for value in values]
        array = np.empty(len(strings), np.object_)
        array[:] = strings
        return array
    if kind.whole is _INT32:
        # A number that does not fit into 8 or 16 bits loses its upper bits, as on the real server.
        return np.array(list(values), np.int64).astype(kind.dtype)
    return np.array(list(values), kind.dtype)


def is_base64(value: Any) -> bool:
    """Return whether a JSON value is an object with the single key `b64` and a string."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(value: Any) -> bytes:
    """Return the bytes in a base64 object; padding and white space are optional."""
    if not is_base64(value):
        raise invalid_argument(f"JSON Value: {show(value)} not formatted correctly for base64 data")
    match = _BASE64.fullmatch("".join(value["b64"].split()))
    digits, padding = match.groups() if match else ("", "=")
    missing = -len(digits) % 4
    if missing == 3 or len(padding) not in (0, missing):
        raise invalid_argument("Unable to base64 decode")
    return base64.b64decode(digits + "=" * missing)


def encode_text(text: str) -> bytes:
    """Return the bytes of a JSON string as received, even if they are not UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def as_name(text: str) -> str:
    """Return a JSON string as a name that a message can hold; bytes that are not UTF-8 are replaced."""
    return encode_text(text).decode("utf-8", "replace")


def json_type(value: Any) -> str:
    """Return the type of a JSON value in rapidjson's words."""
    return str(value) if isinstance(value, bool) else _TYPE_NAMES[type(value)]


def _name(data_type: int) -> str:
    return str(types_pb2.DataType.Name(data_type)).removeprefix("DT_").lower()
