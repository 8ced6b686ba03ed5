"""Requests that no client should send, made from good ones. A server must refuse most of them and survive all.

What no version can guard against is left out: values of type DT_RESOURCE end any server.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from signatures.contract import names

_ANIMATED_WEBP = b"RIFF\x1a\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x02\x00\x00\x00\x1f\x00\x00\x1f\x00\x00"
_HUGE_PNG = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\xea\x60\x00\x00\xea\x60\x08\x06\x00\x00\x00\x00\x00\x00\x00"
    b"\x00\x00\x00\x00IEND\xaeB`\x82"
)
# A graph that decodes only JPEG and PNG refuses these. An animated WebP ends a server that decodes anything.
_NO_IMAGES = {
    "bytes that are no image": b"neither an image nor an example",
    "no bytes": b"",
    "an animated WebP": _ANIMATED_WEBP,
    "a PNG of 60000 x 60000 pixels": _HUGE_PNG,
    "a JPEG that breaks off": b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01",
}
_LARGEST_INT32 = 2**31 - 1


@dataclass(frozen=True)
class Malformed:
    """One request.

    Attributes:
        description: what is wrong with it.
        method: the method of PredictionService.
        message: the request, serialized.
        refused: whether it must be answered with an error.
    """

    description: str
    method: str
    message: bytes
    refused: bool


def good_requests(directory: Path, version: int) -> list[Any]:
    """Return one request for each signature, PredictRequest or ClassificationRequest, from the warm-up requests."""
    requests: dict[str, Any] = {}
    for record in tf.compat.v1.io.tf_record_iterator(str(directory / names.ASSETS_EXTRA / names.WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        request = log.classify_log.request if log.HasField("classify_log") else log.predict_log.request
        request.model_spec.version.value = version
        requests.setdefault(request.model_spec.signature_name, request)
    return list(requests.values())


def method_of(request: Any) -> str:
    """Return the method of PredictionService that takes a request."""
    return "Predict" if isinstance(request, predict_pb2.PredictRequest) else "Classify"


def malformed_requests(directory: Path, version: int, *, empty: bool) -> Iterator[Malformed]:
    """Yield requests, each wrong in one way.

    Args:
        directory: the staged version.
        version: the number that it is served as.
        empty: whether to send requests without examples. They wait forever if the server itself merges requests.
    """
    saved_model = saved_model_pb2.SavedModel.FromString((directory / "saved_model.pb").read_bytes())
    definitions = saved_model.meta_graphs[0].signature_def
    for good in good_requests(directory, version):
        key = good.model_spec.signature_name
        variants = _of_predict if method_of(good) == "Predict" else _of_classify
        for description, refused, change in variants(good, definitions[key], empty):
            changed = type(good)()
            changed.CopyFrom(good)
            change(changed)
            yield Malformed(f"{description}, to {key}", method_of(good), changed.SerializeToString(), refused)
    yield Malformed("bytes that are no request", "Predict", b"\xff" * 64, True)


# What is wrong, whether it must be refused, and a function that makes a good request wrong in this way.
_Change = tuple[str, bool, Callable[[Any], object]]


def _of_predict(good: Any, definition: Any, empty: bool) -> Iterator[_Change]:
    # export_info answers any probe, because it computes nothing with it.
    guarded = good.model_spec.signature_name != names.EXPORT_INFO
    for name, tensor in sorted(good.inputs.items()):
        yield from _of_tensor(name, tensor, guarded, empty)
        if name == names.ENCODED_IMAGES:
            for description, content in _NO_IMAGES.items():
                yield f"{name} with {description}", True, partial(_set_strings, name, content)
    for name in sorted({names.K, names.MIN_SCORE} & set(definition.inputs)):
        yield f"{name} = NaN as float", True, partial(_set_scalar, name, float("nan"))
    if names.K in definition.inputs:
        for k in (_LARGEST_INT32, -_LARGEST_INT32 - 1):
            yield f"k = {k}", False, partial(_set_scalar, names.K, k)
    yield "an input that it does not have", True, partial(_set_scalar, "no such input", 1)
    yield "an output that it does not have", True, lambda request: request.output_filter.append("no such output")
    yield "a signature that it does not have", True, _name_another_signature


def _of_tensor(name: str, tensor: Any, guarded: bool, empty: bool) -> Iterator[_Change]:
    """Yield changes to one tensor: to its rank, shape, type and values."""
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    yield f"{name} of one more dimension", guarded, partial(_reshape, name, [*sizes, 1])
    if len(sizes) > 2:
        # This ends a server whose model is not guarded.
        yield f"{name} of rank 2", guarded, partial(_reshape, name, [sizes[0], math.prod(sizes[1:])])
    yield f"{name} of a negative size", True, partial(_reshape, name, [-1])
    yield f"{name} of another type", True, partial(_retype, name)
    if tensor.dtype != types_pb2.DT_STRING:
        yield f"{name} with too few bytes", True, partial(_cut, name)
    if empty and sizes:
        yield f"{name} of no examples", False, partial(_reshape, name, [0, *sizes[1:]])


def _of_classify(good: Any, definition: Any, empty: bool) -> Iterator[_Change]:
    features = sorted(good.input.example_list.examples[0].features.feature)
    if names.IMAGE_FEATURE in features:
        for description, content in _NO_IMAGES.items():
            yield f"examples with {description}", True, partial(_set_image, content)
    yield "an example without features", False, lambda request: _examples(request)[0].Clear()
    for name in features:
        yield f"a feature {name} of another type", True, partial(_retype_feature, name)
    if empty:
        yield "no examples", True, lambda request: request.input.example_list.ClearField("examples")


def _name_another_signature(request: Any) -> None:
    request.model_spec.signature_name = "no such signature"


def _examples(request: Any) -> Any:
    return request.input.example_list.examples


def _set_image(content: bytes, request: Any) -> None:
    _examples(request)[0].features.feature[names.IMAGE_FEATURE].bytes_list.value[:] = [content]


def _retype_feature(name: str, request: Any) -> None:
    feature = _examples(request)[0].features.feature[name]
    if feature.HasField("bytes_list"):
        feature.float_list.value.append(1.0)
    else:
        feature.bytes_list.value.append(b"neither a number nor an image")


def _reshape(name: str, sizes: list[int], request: Any) -> None:
    tensor = request.inputs[name]
    del tensor.tensor_shape.dim[:]
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    if 0 in sizes:
        tensor.CopyFrom(type(tensor)(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape))


def _retype(name: str, request: Any) -> None:
    tensor = request.inputs[name]
    is_string = tensor.dtype == types_pb2.DT_STRING
    kept = type(tensor)(
        dtype=types_pb2.DT_FLOAT if is_string else types_pb2.DT_STRING, tensor_shape=tensor.tensor_shape
    )
    count = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if is_string:
        kept.float_val.extend([1.0] * count)
    else:
        kept.string_val.extend([b"x"] * count)
    tensor.CopyFrom(kept)


def _cut(name: str, request: Any) -> None:
    tensor = request.inputs[name]
    tensor.CopyFrom(type(tensor)(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape, tensor_content=b"\0\0\0"))


def _set_strings(name: str, content: bytes, request: Any) -> None:
    values = request.inputs[name].string_val
    values[:] = [content] * len(values)


def _set_scalar(name: str, value: float, request: Any) -> None:
    tensor = request.inputs[name]
    tensor.Clear()
    tensor.tensor_shape.SetInParent()
    if isinstance(value, int):
        tensor.dtype = types_pb2.DT_INT32
        tensor.int_val.append(value)
    else:
        tensor.dtype = types_pb2.DT_FLOAT
        tensor.float_val.append(value)
