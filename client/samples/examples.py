"""Samples of tf.Examples, as the signature `classify` takes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from client.errors import InputError
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from client.samples.rows import flat_row
from signatures.contract import names

# The name of the label in TensorFlow's own image pipelines.
LABEL_FEATURE = "image/class/label"


def example_sample(example: Any, source: str, served: Served) -> Sample:
    """Return the sample of a tf.Example message.

    Its features are the model's inputs by name, or `image/encoded`, an image's file. It may have `k`, `min_score` and
    `image/class/label`, the indices of the labels that are true; other features are left out.

    Raises:
        InputError: when its features do not fit the model; the message names the source and the feature.
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
