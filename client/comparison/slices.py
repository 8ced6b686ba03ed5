"""Slices: named groups of labeled samples, whose quality is judged separately."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from client.errors import InputError
from client.samples.golden import Sample


def read_slices(file: Path, samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Return the numbers of the samples of each slice.

    Args:
        file: a JSON object, {"SLICE": [SAMPLE, ...]}. A sample is its number, from 0, or its name: the name of an image
            file, or where the sample was read, such as "reviews.jsonl, line 3".
        samples: the samples.

    Raises:
        InputError: if the file is something else, or names a sample that does not exist.
    """
    try:
        content: Any = json.loads(file.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(listed, list) and listed for listed in content.values()):
        raise InputError(f'{file} must be an object, {{"SLICE": [SAMPLE, ...]}}, with a sample in each slice')
    numbers: dict[Any, list[int]] = {}
    for number, sample in enumerate(samples):
        for name in {sample.source, Path(sample.source).name}:
            numbers.setdefault(name, []).append(number)
    return {
        name: sorted({n for each in listed for n in _found(each, numbers, len(samples), f"{file}, slice {name!r}")})
        for name, listed in content.items()
    }


def _found(each: Any, numbers: Mapping[Any, list[int]], count: int, where: str) -> list[int]:
    if type(each) is int and 0 <= each < count:
        return [each]
    if isinstance(each, str) and each in numbers:
        return numbers[each]
    raise InputError(f"{where} names the sample {each!r}, which is not among the {count} samples")
