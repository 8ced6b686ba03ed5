"""Turn a value from a file into a row of an input: an array of the declared dtype and shape."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import InputError
from client.rpc.inputs import as_numbers, brief, fits, listed_shape
from client.rpc.metadata import Signature, TensorInfo
from signatures.contract import names

# How many values of a row to show.
_SHOWN = 6


def own_inputs(signature: Signature) -> dict[str, TensorInfo]:
    """Return the model's own inputs: all but `k` and `min_score`."""
    return {name: info for name, info in signature.inputs.items() if name not in names.LIMITS}


def row_shape(info: TensorInfo) -> tuple[int, ...] | None:
    """Return the shape of one example, with -1 for any length, or None for any shape.

    Raises:
        InputError: if no batch of one example fits the input.
    """
    if info.shape is None:
        return None
    if not info.shape or info.shape[0] not in (-1, 1):
        raise InputError(f"is declared with the shape {listed_shape(info.shape)}, which single examples do not have")
    return info.shape[1:]


def row(value: Any, info: TensorInfo) -> NDArray[Any]:
    """Return a value as an array with a leading dimension of 1.

    Args:
        value: a number, str or bytes, or nested lists or an array of them.
        info: what the signature declares. If it declares rows of one value, that value alone will do.

    Raises:
        InputError: if the value does not have the declared dtype and shape; the message lacks the name of the input.
    """
    shape = row_shape(info)
    array = _strings(value) if info.dtype == "string" else as_numbers(value, info.dtype)
    if shape is not None and array.ndim == 0 and set(shape) <= {1}:
        array = array.reshape([1] * len(shape))
    if shape is not None and not fits(array.shape, shape):
        raise InputError(
            f"takes rows of shape {listed_shape(shape)}, and this one is of shape {listed_shape(array.shape)}"
        )
    return array[np.newaxis]


def flat_row(values: Sequence[Any], info: TensorInfo) -> NDArray[Any]:
    """Return a flat list of values as `row` does, arranged in the declared shape; one length may be left open."""
    declared, count = row_shape(info), len(values)
    shape = (-1,) if declared is None else declared
    known = math.prod(length for length in shape if length != -1)
    if shape.count(-1) == 1:
        shape = tuple(count // max(known, 1) if length == -1 else length for length in shape)
    if -1 in shape or math.prod(shape) != count:
        raise InputError(f"takes rows of shape {listed_shape(declared or shape)}, and this one is of length {count}")
    if info.dtype == "string":
        array = np.empty(count, object)
        array[:] = list(values)
    else:
        array = np.asarray(values)
    return row(array.reshape(shape), info)


def title(inputs: Mapping[str, NDArray[Any]], source: str) -> str:
    """Return the title of a sample: its text or values, or its source if it is an image or the like."""
    if any(array.ndim > 2 for array in inputs.values()):
        return source
    if len(inputs) == 1:
        return _values(next(iter(inputs.values()))[0])
    return ", ".join(f"{name}={_values(array[0])}" for name, array in inputs.items())


def _strings(value: Any) -> NDArray[Any]:
    # A copy, because its strings are replaced with bytes.
    array: NDArray[Any] = np.array(value, dtype=object)
    flat = array.reshape(-1)
    for place, item in enumerate(flat.tolist()):
        # From lists of different lengths, numpy makes an array of lists.
        if isinstance(item, list):
            raise InputError("holds lists of several lengths")
        if not isinstance(item, str | bytes):
            raise InputError(f"takes strings, not {brief(item)}")
        try:
            flat[place] = item if isinstance(item, bytes) else item.encode()
        except UnicodeEncodeError as error:
            raise InputError(f"takes UTF-8, and {brief(item)} holds a lone surrogate") from error
    return array


def _values(array: Any) -> str:
    """Return the values of a row of up to one dimension, or the first few."""
    if not isinstance(array, np.ndarray):
        return _value(array)
    shown = ", ".join(map(_value, array[:_SHOWN]))
    return f"[{shown}]" if len(array) <= _SHOWN else f"[{shown}, ... {len(array)} values]"


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return f"{value:.6g}" if isinstance(value, np.floating) else str(value)
