"""Convert arrays to the REST API's JSON, and its answers to arrays."""

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import DecodeError
from client.rpc.inputs import as_numbers, length
from client.rpc.metadata import Signature, TensorInfo
from signatures.contract import names

# What the server reads from JSON (json_tensor.cc of TensorFlow Serving 2.20.0): no half precision, no complex numbers.
_KINDS = {"bool", "string", "float32", "float64"} | {
    f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)
}


def not_callable(signature: Signature) -> str:
    """Return why REST cannot call a signature, or "" if it can."""
    for name, info in signature.inputs.items():
        if info.dtype not in _KINDS:
            return f"its input {name} is {info.dtype}, which JSON cannot hold"
    return ""


def filled(signature: Signature, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return inputs with the defaults filled in, which REST does not do, and with limits for each example."""
    batch = length({name: array for name, array in inputs.items() if name not in names.LIMITS})
    found = dict(inputs)
    for name, info in signature.inputs.items():
        if name not in found and info.default is not None:
            found[name] = info.default
        if name in names.LIMITS and name in found:
            found[name] = np.broadcast_to(found[name].reshape(-1), batch)
    return found


def rows(signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return a request in rows: an object for each example."""
    columns = {name: _jsonable(array) for name, array in inputs.items()}
    instances = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {"signature_name": signature, "instances": instances}


def columns(signature: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return a request in columns: an array for each input."""
    return {"signature_name": signature, "inputs": {name: _jsonable(array) for name, array in inputs.items()}}


def classify_request(signature: str, examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a request of the Classify API: an object of features for each example."""
    shown = [{name: _feature(value) for name, value in example.items()} for example in examples]
    return {"signature_name": signature, "examples": shown}


def read_outputs(answer: Any, outputs: Mapping[str, TensorInfo]) -> dict[str, NDArray[Any]]:
    """Return the outputs of an answer in rows or columns, as gRPC would return them.

    Raises:
        DecodeError: if the answer has another form.
    """
    try:
        if "predictions" in answer:
            listed = answer["predictions"]
            named = len(outputs) > 1
            found = {name: [row[name] if named else row for row in listed] for name in outputs}
        else:
            found = answer["outputs"] if len(outputs) > 1 else dict.fromkeys(outputs, answer["outputs"])
        return {name: _array(found[name], info) for name, info in outputs.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"a REST answer does not hold the outputs {', '.join(outputs)}: {error!r}") from error


def read_classes(answer: Any) -> list[list[tuple[str, float]]]:
    """Return the classes with their scores for each example of a `classify` answer; see `read_outputs`."""
    try:
        return [[(str(label), float(score)) for label, score in classes] for classes in answer["results"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError(f"a REST answer does not hold classes: {error!r}") from error


def _jsonable(array: NDArray[Any]) -> Any:
    if array.dtype != object:
        return array.tolist()
    encoded = np.empty(array.shape, object)
    encoded.reshape(-1)[:] = [{"b64": base64.b64encode(item).decode()} for item in array.reshape(-1)]
    return encoded.tolist()


def _feature(value: Any) -> Any:
    return _jsonable(np.array([value], object))[0] if isinstance(value, bytes) else _jsonable(np.asarray(value))


def _array(value: Any, info: TensorInfo) -> NDArray[Any]:
    if info.dtype != "string":
        return as_numbers(value, info.dtype)
    array = np.array(value, object)
    flat = array.reshape(-1)
    flat[:] = [base64.b64decode(item["b64"]) if isinstance(item, dict) else str.encode(item) for item in flat.tolist()]
    return array
