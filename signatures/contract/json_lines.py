"""JSON lines, one example on each, as the exporter and the client read them from files."""

import base64
import binascii
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from signatures.contract import names

# The only key of an object that stands for bytes, as in TensorFlow Serving's REST API.
_BYTES = "b64"


class LineError(ValueError):
    """A line is not an example. The message names the line and the reason."""


@dataclass(frozen=True)
class Line:
    """One example.

    Attributes:
        values: by name, the model's inputs as nested lists, numbers, strings or bytes, or an image file.
        k: its k, or None.
        min_score: its min_score, or None.
        labels: its true labels, or None if they are unknown.
    """

    values: Mapping[str, Any]
    k: int | None = None
    min_score: float | None = None
    labels: tuple[str, ...] | None = None


def read_line(line: bytes, inputs: Collection[str], source: str) -> Line:
    """Parse a line.

    Args:
        line: an object with a key for each input, which may have `k`, `min_score` and `labels`; or a bare value for a
            model with one input. Arrays are nested lists, bytes are {"b64": "..."}.
        inputs: the names of the model's inputs.
        source: the name of the line in error messages.

    Raises:
        LineError: if the line is anything else.

    Example:
        >>> read_line(b'{"text": "a good day", "labels": ["x"]}', ["text"], "line 1").labels
        ('x',)
        >>> read_line(b'"a good day"', ["text"], "line 1").values
        {'text': 'a good day'}
    """
    try:
        stated = _with_bytes(json.loads(line.decode("utf-8-sig")))
    except binascii.Error as error:
        raise LineError(f"{source}: the value of {_BYTES!r} is not base64: {error}") from error
    except json.JSONDecodeError as error:
        raise LineError(
            f"{source} is not JSON ({error.msg}, column {error.colno}): write one object or value on each line"
        ) from error
    except (ValueError, RecursionError) as error:
        raise LineError(f"{source} cannot be read: {error}") from error
    if not isinstance(stated, dict):
        if len(inputs) != 1:
            raise LineError(f"{source} is a bare value, but the model has several inputs: {', '.join(inputs)}")
        return Line({next(iter(inputs)): stated})
    extras = {key: stated.pop(key) for key in (*names.LIMITS, names.LABELS) if key not in inputs and key in stated}
    return Line(
        stated,
        _k(extras.get(names.K), source),
        _min_score(extras.get(names.MIN_SCORE), source),
        _labels(extras.get(names.LABELS), source),
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
    raise LineError(f"{source}: k is {value!r}, and must be a whole number")


def _min_score(value: Any, source: str) -> float | None:
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value):
        raise LineError(f"{source}: min_score is {value!r}, and must be a number")
    return float(value)


def _labels(value: Any, source: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(label, str) for label in value):
        raise LineError(f"{source}: labels is {value!r}, and must be a list of the labels that are true")
    return tuple(value)
