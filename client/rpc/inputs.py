"""Convert a caller's values to the inputs of a signature, or refuse them before anything is sent."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from client.errors import InputError
from client.rpc.codec import as_array
from client.rpc.dtypes import dtype_name, sendable
from client.rpc.metadata import Signature, TensorInfo
from signatures.contract import names

_LEAST, _MOST = -(2**31), 2**31 - 1


def arrange_inputs(
    signature: Signature,
    inputs: Mapping[str, ArrayLike] | ArrayLike,
    k: ArrayLike | None,
    min_score: ArrayLike | None = None,
) -> dict[str, NDArray[Any]]:
    """Return the arrays to send, by input name.

    Args:
        signature: the signature to call.
        inputs: arrays by name, or a single array if there is only one input besides k and min_score.
        k: one number, or one per example. None means the server's default.
        min_score: the same.

    Raises:
        InputError: if the inputs do not fit. The message names the input, what is expected and what was received.
    """
    given = _named(signature, inputs)
    if unknown := sorted(given.keys() - signature.inputs.keys()):
        raise InputError(f"signature {signature.key} has no input {unknown[0]!r}, only {', '.join(signature.inputs)}")
    arrays = {name: _fitting(signature.key, name, signature.inputs[name], value) for name, value in given.items()}
    batch = _batch(signature, arrays)
    for name, value in ((names.K, k), (names.MIN_SCORE, min_score)):
        if value is not None:
            require_limit(signature, name)
            scalar = signature.inputs[name].shape == ()
            arrays[name] = _scalar(signature, name, value) if scalar else limit_per_example(name, value, batch)
    missing = [name for name, info in signature.inputs.items() if name not in arrays and info.default is None]
    if missing:
        raise InputError(f"signature {signature.key} needs the input {missing[0]!r}, which was not given")
    return arrays


def require_limit(signature: Signature, name: str) -> None:
    """Raise InputError unless a signature takes k or min_score."""
    if name in signature.inputs:
        return
    if name == names.MIN_SCORE and names.K in signature.inputs:
        raise InputError(
            f"signature {signature.key} takes k but no min_score, as the served model was exported before there was "
            "one: leave min_score out, or export the model again"
        )
    raise InputError(f"signature {signature.key} takes no {name}: leave it out")


def limit_per_example(name: str, value: ArrayLike, batch: int) -> NDArray[Any]:
    """Return k or min_score, one per example. Every server takes that, including one that batches requests itself."""
    if type(value) is int and name == names.K:
        return np.full(batch, min(max(value, _LEAST), _MOST), np.int32)
    array = whole_numbers(value) if name == names.K else finite_numbers(value)
    if array.shape == (batch,):
        return array
    if array.size != 1 or array.ndim > 1:
        raise InputError(
            f"{name} has shape {list(array.shape)}: pass one number, or one for each of the {batch} examples"
        )
    return np.full(batch, array.item(), array.dtype)


def finite_numbers(min_score: ArrayLike) -> NDArray[np.float32]:
    """Return min_score as float32."""
    array = as_array(min_score)
    with np.errstate(over="ignore"):
        values = array.astype(np.float32) if array.dtype.kind in "iuf" else np.full(1, np.nan, np.float32)
    if not np.isfinite(values).all():
        raise InputError(f"min_score is {min_score!r}: it must be a finite number, or one for each example")
    return values


def whole_numbers(k: ArrayLike) -> NDArray[np.int32]:
    """Return k as int32. Larger numbers are clamped to its range, which exceeds any number of classes."""
    array = as_array(k)
    if array.dtype == np.int32:
        return array
    values = array.reshape(-1).tolist()
    if not all(type(value) is int for value in values):
        raise InputError(f"k is {k!r}: it must be a whole number, or one for each example")
    return np.array([min(max(value, _LEAST), _MOST) for value in values], np.int32).reshape(array.shape)


def as_numbers(value: Any, dtype: str) -> NDArray[Any]:
    """Return numbers, such as nested lists, as an array of the declared dtype. Only floats may be rounded.

    Raises:
        InputError: if a number would change otherwise; the message lacks the name of the input.
    """
    try:
        # numpy lacks bfloat16; such an input takes float32, rounded when it is sent.
        wanted = np.dtype("float32" if dtype == "bfloat16" else dtype)
    except TypeError as error:
        raise InputError(f"is {dtype}, which numpy lacks") from error
    try:
        array = np.asarray(value)
        if wanted.kind in "iu" and array.dtype.kind in ("f", "O"):
            # numpy turns whole numbers of more than 63 bits into floats if there are smaller ones beside them.
            whole = np.array(value, object)
            if all(type(item) is int for item in whole.flat):
                return whole.astype(wanted)
    except OverflowError as error:
        raise InputError(f"takes {dtype}, not {brief(value)}") from error
    except (ValueError, TypeError) as error:
        raise InputError("holds lists of several lengths") from error
    if array.size == 0:
        return np.zeros(array.shape, wanted)
    if array.dtype.kind not in ("biufc" if wanted.kind == "c" else "biuf"):
        raise InputError(f"takes {dtype}, not {brief(value)}")
    with np.errstate(all="ignore"):
        cast = array.astype(wanted)
    same = np.isfinite(cast) == np.isfinite(array) if wanted.kind in "fc" else cast == array
    if not same.all():
        raise InputError(f"takes {dtype}, not {brief(array[~same].flat[0])}")
    return cast


def brief(value: Any) -> str:
    """Return a value as text for an error message."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else text[:37] + "..."


def length(arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return how many examples undeclared arrays hold: the length of the first array that has a dimension."""
    return next((len(array) for array in arrays.values() if array.ndim), 1)


def trim_top_k(outputs: dict[str, NDArray[Any]], k: ArrayLike | None) -> dict[str, NDArray[Any]]:
    """Return top_k answers no wider than requested: a batching server pads them to the widest merged request."""
    if k is None or names.INDICES not in outputs:
        return outputs
    width = max(0, int(np.max(k, initial=0)))
    listed = (names.INDICES, names.SCORES, names.LABELS)
    return {name: array[:, :width] if name in listed and array.ndim == 2 else array for name, array in outputs.items()}


def _scalar(signature: Signature, name: str, value: ArrayLike) -> NDArray[Any]:
    array = whole_numbers(value) if name == names.K else finite_numbers(value)
    if array.size != 1:
        raise InputError(
            f"{name} of signature {signature.key} is one number for all, not of shape {listed_shape(array.shape)}"
        )
    return array.reshape(())


def _named(signature: Signature, inputs: Mapping[str, ArrayLike] | ArrayLike) -> Mapping[str, ArrayLike]:
    if isinstance(inputs, Mapping):
        return inputs
    own = [name for name in signature.inputs if name not in names.LIMITS]
    if len(own) != 1:
        raise InputError(f"signature {signature.key} has the inputs {', '.join(own)}: pass them by name")
    return {own[0]: inputs}


def _fitting(key: str, name: str, info: TensorInfo, value: ArrayLike) -> NDArray[Any]:
    if not sendable(info.dtype):
        raise InputError(f"input {name} of signature {key} is {info.dtype}, which no request can hold")
    if isinstance(value, np.ndarray) or info.dtype == "string":
        array = as_array(value)
    else:
        try:
            array = as_numbers(value, info.dtype)
        except InputError as error:
            raise InputError(f"input {name} of signature {key} {error}") from error
    dtype = dtype_name(array.dtype)
    if dtype != info.dtype and not (info.dtype == "bfloat16" and dtype == "float32"):
        advice = "" if "string" in (dtype, info.dtype) else f": use .astype({info.dtype!r})"
        raise InputError(f"input {name} of signature {key} is {info.dtype}, not {dtype}{advice}")
    if info.shape is not None and not fits(array.shape, info.shape):
        raise InputError(
            f"input {name} of signature {key} has shape {listed_shape(info.shape)}, "
            f"but an array of shape {listed_shape(array.shape)} was given"
        )
    return array


def fits(shape: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    """Return whether an array's shape is the declared one, where -1 stands for any length."""
    if shape[1:] == declared[1:]:  # nearly always, and four times as fast
        return len(shape) == len(declared) and declared[:1] in ((), (-1,), shape[:1])
    return len(shape) == len(declared) and all(want in (-1, have) for want, have in zip(declared, shape, strict=True))


def _batch(signature: Signature, arrays: Mapping[str, NDArray[Any]]) -> int:
    """Return how many examples the inputs hold: the leading length that they share."""
    batch = None
    for name, array in arrays.items():
        if name in names.LIMITS or not array.ndim or (signature.inputs[name].shape or (-1,))[0] != -1:
            continue
        length = array.shape[0]
        if length == 0:
            raise InputError(f"input {name} of signature {signature.key} holds no examples: send at least one")
        if batch not in (None, length):
            raise InputError(f"input {name} of signature {signature.key} holds {length} examples, others {batch}")
        batch = length
    return 1 if batch is None else batch


def listed_shape(shape: tuple[int, ...]) -> str:
    """Return a shape as text for an error message."""
    return "[" + ", ".join("any" if length == -1 else str(length) for length in shape) + "]"
