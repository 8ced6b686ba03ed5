"""Samples of TFRecord files: tf.Examples as the signature `classify` takes them, or recorded requests."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError as ProtobufDecodeError
from numpy.typing import NDArray

from client.errors import DecodeError, InputError
from client.recording.logs import RecordedRequest, read_log
from client.recording.tfrecord import read_file
from client.rpc.calls import CLASSIFY
from client.rpc.codec import decode_tensor
from client.rpc.inputs import limit_per_example
from client.rpc.messages import Example
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from client.samples.rows import flat_row
from signatures.contract import names

# The name of the label in TensorFlow's own image pipelines.
LABEL_FEATURE = "image/class/label"


def record_samples(path: Path, served: Served) -> Iterator[Sample]:
    """Yield the samples of a TFRecord file.

    Raises:
        InputError: if a record is damaged, holds something else, or does not fit the model.
    """
    for source, payload in read_file(path):
        if (recorded := read_log(payload)) is not None:
            yield from _request_samples(recorded, source, served)
            continue
        try:
            example = Example.FromString(payload)
        except ProtobufDecodeError:
            example = Example()
        if not example.features.feature:
            raise InputError(f"{source} is neither a tf.Example nor a recorded Predict or Classify request")
        yield _example_sample(example, source, served)


def _request_samples(recorded: RecordedRequest, source: str, served: Served) -> Iterator[Sample]:
    """Yield a sample for each example of a request. Requests for the identity, `export_info`, have none."""
    message = recorded.message()
    if recorded.method == CLASSIFY:
        if message.input.WhichOneof("kind") == "example_list_with_context":
            raise InputError(f"{source} has a context that its examples share, which cannot be read")
        for example in message.input.example_list.examples:
            yield _example_sample(example, source, served)
    elif message.model_spec.signature_name != names.EXPORT_INFO:
        try:
            arrays = {name: decode_tensor(proto) for name, proto in sorted(message.inputs.items())}
        except DecodeError as error:
            raise InputError(f"{source}: {error}") from error
        yield from _predict_samples(arrays, source, served)


def _predict_samples(arrays: dict[str, NDArray[Any]], source: str, served: Served) -> Iterator[Sample]:
    sent = {name: arrays.pop(name) for name in names.LIMITS if name in arrays}
    count = _examples(arrays, source)
    try:
        limits = {name: limit_per_example(name, array, count) for name, array in sent.items()}
    except InputError as error:
        raise InputError(f"{source}: {error}") from error
    for number in range(count):
        values = {name: array[number] for name, array in arrays.items()}
        sample = sample_of(served, values, source if count == 1 else f"{source}, example {number}")
        yield replace(sample, **{name: limit[number].item() for name, limit in limits.items()})


def _examples(arrays: dict[str, NDArray[Any]], source: str) -> int:
    """Return how many examples the inputs hold, which is their length."""
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    count = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != count:
            raise InputError(f"{source}: input {name} holds {length} examples, others {count}")
    return count


def _example_sample(example: Any, source: str, served: Served) -> Sample:
    """Return the sample of a tf.Example message.

    Its features are the model's inputs by name, or `image/encoded`, an image file. It may have `k`, `min_score` and
    `image/class/label`, the indices of the true labels; other features are ignored.
    """
    features = {name: _values(feature) for name, feature in example.features.feature.items()}
    own = served.inputs
    truth = features.get(LABEL_FEATURE) if LABEL_FEATURE not in own else None
    if names.IMAGE_FEATURE in features and not own.keys() <= features.keys():
        sample = sample_of(served, {names.IMAGE_FEATURE: _one(features, names.IMAGE_FEATURE, source)}, source)
    else:
        values = {}
        for name in own.keys() & features.keys():
            try:
                values[name] = flat_row(features[name], own[name])[0]
            except InputError as error:
                raise InputError(f"{source}: feature {name} {error}") from error
        sample = sample_of(served, {name: values[name] for name in own if name in values}, source)
    return replace(
        sample,
        k=None if names.K not in features else _number(features, names.K, source, int),
        min_score=None if names.MIN_SCORE not in features else _number(features, names.MIN_SCORE, source, float),
        truth=None if truth is None else _truth(truth, served.labels, source),
    )


def _values(feature: Any) -> Sequence[Any]:
    kind = feature.WhichOneof("kind")
    if kind is None:
        return ()
    return list(getattr(feature, kind).value)


def _one(features: Mapping[str, Sequence[Any]], name: str, source: str) -> Any:
    if len(features[name]) != 1:
        raise InputError(f"{source}: feature {name} has {len(features[name])} values, but needs one")
    return features[name][0]


def _number(features: Mapping[str, Sequence[Any]], name: str, source: str, kind: type) -> Any:
    value = _one(features, name, source)
    if type(value) not in (int, kind):
        raise InputError(f"{source}: feature {name} is {value!r}, and must be a number of type {kind.__name__}")
    return kind(value)


def _truth(indices: Sequence[Any], labels: int | None, source: str) -> tuple[int, ...]:
    if not all(type(index) is int and 0 <= index < (labels or math.inf) for index in indices):
        known = "" if labels is None else f" from 0 to {labels - 1}"
        raise InputError(f"{source}: feature {LABEL_FEATURE} is {list(indices)}, and must be indices of labels{known}")
    return tuple(indices)
