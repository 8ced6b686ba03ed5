"""Samples of JSON lines: a JSON object for each, or a bare value for a model with one input."""

import base64
import binascii
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from client.errors import InputError
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from signatures.contract import names

# The only key of an object that stands for bytes, as in TensorFlow Serving's REST API.
_BYTES = "b64"


def json_samples(lines: Iterable[bytes], name: str, served: Served) -> Iterator[Sample]:
    """Yield the samples of JSON lines; empty lines are skipped.

    Args:
        lines: the lines. An object has a key for each input, and may have `k`, `min_score` and `labels`, a list of
            the labels that are true. Arrays are nested lists, bytes are {"b64": "..."}.
        name: what an error calls the file.
        served: what the samples are made for.

    Raises:
        InputError: for a line that is something else; the message names the line and the input.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _sample(line, f"{name}, line {number}", served)


def _sample(line: bytes, source: str, served: Served) -> Sample:
    try:
        stated = _with_bytes(json.loads(line.decode("utf-8-sig")))
    except binascii.Error as error:
        raise InputError(f"{source}: the value of {_BYTES!r} is not base64: {error}") from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"{source} is not JSON ({error.msg}, column {error.colno}): write one object or value on each line"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} cannot be read: {error}") from error
    own = served.inputs
    if not isinstance(stated, dict):
        if len(own) != 1:
            raise InputError(f"{source} is a bare value, but the model has several inputs: {', '.join(own)}")
        return sample_of(served, {next(iter(own)): stated}, source)
    extras = {
        key: stated.pop(key) for key in (names.K, names.MIN_SCORE, names.LABELS) if key not in own and key in stated
    }
    return replace(
        sample_of(served, stated, source),
        k=_k(extras.get(names.K), source),
        min_score=_min_score(extras.get(names.MIN_SCORE), source),
        truth=_truth(extras.get(names.LABELS), source),
    )


def _with_bytes(value: Any) -> Any:
    """Return a JSON value with bytes in place of each object that stands for them."""
    if isinstance(value, list):
        return [_with_bytes(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {_BYTES} and isinstance(value[_BYTES], str):
        return base64.b64decode(value[_BYTES], validate=True)
    return {key: _with_bytes(item) for key, item in value.items()}


def _k(value: Any, source: str) -> int | None:
    if value is None or type(value) is int:
        return value
    raise InputError(f"{source}: k is {value!r}, and must be a whole number")


def _min_score(value: Any, source: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise InputError(f"{source}: min_score is {value!r}, and must be a number")
    return float(value)


def _truth(value: Any, source: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise InputError(f"{source}: labels is {value!r}, and must be a list of the labels that are true")
    return tuple(value)
