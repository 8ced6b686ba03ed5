"""The tensors of a Predict request in JSON, in rows (`instances`) or columns (`inputs`). Follows json_tensor.cc."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from tensorflow.core.framework import tensor_pb2, types_pb2

from server.errors import ServingError, invalid_argument
from server.rest.documents import Document
from server.rest.values import KINDS, check_value, decode_base64, is_base64, to_array, wrong_type
from server.rest.writing import show
from server.tensors import encode_into


def fill_predict_request(document: Document, infos: Mapping[str, Any], request: Any) -> bool:
    """Fill the inputs of a PredictRequest, and return whether they came in rows.

    Args:
        document: the request in JSON.
        infos: the TensorInfo of each input of the signature.
        request: the message to fill.
    """
    if not infos:
        signature = request.model_spec.signature_name or "DEFAULT"
        raise invalid_argument(f"Failed to get input map for signature: {signature}")
    types = {name: infos[name].dtype for name in sorted(infos)}
    if "instances" in document:
        instances = document["instances"]
        if "inputs" in document:
            raise wrong_format(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        if not isinstance(instances, list):
            raise wrong_format(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise wrong_format(document, "No values in 'instances' array")
        at_once = _rows_at_once(instances, types)
        tensors = _rows_one_by_one(instances, types) if at_once is None else at_once
    elif "inputs" in document:
        tensors = _columns(document["inputs"], types)
    else:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    for name, tensor in tensors.items():
        request.inputs[name].CopyFrom(tensor)
    return "instances" in document


def wrong_format(document: Document, sentence: str) -> ServingError:
    """Return the error for a document that does not have the form of a request."""
    return invalid_argument(f"JSON Value: {show(document)} {sentence}")


def _rows_at_once(instances: list[Any], types: Mapping[str, int]) -> dict[str, Any] | None:
    """Return the tensors of rows that are uniform and valid, as most are, or None for others."""
    if all(map(_has_names, instances)):
        if any(instance.keys() != types.keys() for instance in instances):
            return None
        columns = {name: [instance[name] for instance in instances] for name in types}
    elif len(types) == 1 and not any(map(_has_names, instances)):
        columns = dict.fromkeys(types, instances)
    else:
        return None
    tensors = {name: _tensor_at_once(column, types[name]) for name, column in columns.items()}
    return None if any(tensor is None for tensor in tensors.values()) else tensors


def _rows_one_by_one(instances: list[Any], types: Mapping[str, int]) -> dict[str, Any]:
    """Return the tensors of rows, or raise the server's error for the first row that is wrong."""
    if not isinstance(instances[0], dict) and len(types) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    has_names = _has_names(instances[0])
    columns: dict[str, _Column] = {}
    for number, instance in enumerate(instances):
        if _has_names(instance) != has_names:
            found = "object but got list" if has_names else "value/list but got object"
            raise invalid_argument(f"Expecting {found} at item {number} of input list")
        for name, value in instance.items() if has_names else [(next(iter(types)), instance)]:
            try:
                if name not in types:
                    raise invalid_argument(f"JSON object: does not have named input: {name}")
                columns.setdefault(name, _Column(types[name])).add(value)
            except ServingError as error:
                key = f" key: {name}" if has_names else ""
                raise invalid_argument(
                    f"Failed to process element: {number}{key} of 'instances' list. "
                    f"Error: {error.code.name}: {error.message}"
                ) from None
        if has_names and instance.keys() != types.keys():
            raise invalid_argument(
                f"Failed to process element: {number} of 'instances' list. JSON object: {show(instance)} "
                f"keys must be equal to: {','.join(types)}"
            )
    return {name: column.tensor() for name, column in columns.items()}


def _columns(inputs: Any, types: Mapping[str, int]) -> dict[str, Any]:
    if not _has_names(inputs):
        if len(types) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        inputs = dict.fromkeys(types, inputs)
    tensors = {}
    for name, data_type in types.items():
        if name not in inputs:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        at_once = _tensor_at_once(inputs[name], data_type)
        tensors[name] = _tensor(inputs[name], data_type) if at_once is None else at_once
    return tensors


def _has_names(value: Any) -> bool:
    return isinstance(value, dict) and not is_base64(value)


class _Column:
    """One input, gathered row by row."""

    def __init__(self, data_type: int) -> None:
        self._type = data_type
        self._rows = 0
        self._values: list[Any] = []
        self._shape: list[int] = []

    def add(self, value: Any) -> None:
        shape = _shape(value)
        before = len(self._values)
        _collect(value, shape, self._type, self._values)
        size = len(self._values) - before
        if not self._rows:
            self._shape = shape
        elif size * self._rows != before:
            raise invalid_argument(f"Expecting tensor size: {before // self._rows} but got: {size}")
        elif shape != self._shape:
            raise invalid_argument(f"Expecting shape {_brackets(self._shape)} but got: {_brackets(shape)}")
        self._rows += 1

    def tensor(self) -> Any:
        return _pack([self._rows, *self._shape], self._values, self._type)


def _tensor(value: Any, data_type: int) -> Any:
    values: list[Any] = []
    shape = _shape(value)
    _collect(value, shape, data_type, values)
    return _pack(shape, values, data_type)


def _shape(value: Any) -> list[int]:
    """Return the sizes of a value that is a list, of its first item, and so on; the other items must match."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def _collect(value: Any, shape: Sequence[int], data_type: int, values: list[Any], level: int = 0) -> None:
    """Append the leaves of nested lists, or raise the server's error for the first that is wrong."""
    if isinstance(value, list):
        if level >= len(shape):
            raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
        if len(value) != shape[level]:
            raise invalid_argument(
                f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
            )
        for item in value:
            _collect(item, shape, data_type, values, level + 1)
        return
    if level != len(shape):
        raise invalid_argument(
            f"JSON Value: {show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
            f"Expected at level: {len(shape)}"
        )
    if not isinstance(value, dict):
        check_value(value, data_type)
        values.append(value)
    elif data_type == types_pb2.DT_STRING:
        values.append(decode_base64(value))
    else:
        raise wrong_type(value, data_type)


def _tensor_at_once(value: Any, data_type: int) -> Any:
    """Return the tensor of nested lists without checking each item, or None if that is needed."""
    if data_type not in KINDS:
        return None
    shape = []
    items = [value]
    while items and isinstance(items[0], list):
        size = len(items[0])
        if any(type(item) is not list or len(item) != size for item in items):
            return None
        shape.append(size)
        items = list(chain.from_iterable(items))
    return _pack(shape, items, data_type) if KINDS[data_type].accepts_all(items) else None


def _pack(shape: Sequence[int], values: Sequence[Any], data_type: int) -> Any:
    tensor = tensor_pb2.TensorProto()
    if data_type in KINDS:
        encode_into(tensor, to_array(values, data_type), as_content=data_type != types_pb2.DT_STRING)
        tensor.ClearField("tensor_shape")
    tensor.dtype = data_type
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _brackets(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
