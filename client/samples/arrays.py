"""Samples of a .npz file: an array for each input, and optionally the truth."""

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import InputError
from client.files import opened
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from signatures.contract import names

# What numpy raises for a file that is damaged, or holds objects instead of numbers.
_DAMAGED = (ValueError, EOFError, TypeError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error)


def array_samples(path: Path, served: Served) -> Iterator[Sample]:
    """Yield the samples of a .npz file.

    The file holds an array [S, ...] for each input, under its name, and may hold `labels`, [S, N] of zeros and ones,
    with a row of -1 or NaN if the truth of a sample is not known.

    Raises:
        InputError: if the file holds anything else.
    """
    arrays = _load(path)
    truth = arrays.pop(names.LABELS, None) if names.LABELS not in served.inputs else None
    sizes = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    count = next(iter(sizes.values()), 0)
    for name, size in sizes.items():
        if not size or size != count:
            raise InputError(f"{path}: array {name} holds {size} samples, others {count}: all need the same number")
    rows = [None] * count if truth is None else _truth(truth, count, served.labels, path)
    for number in range(count):
        values = {name: array[number] for name, array in arrays.items()}
        yield replace(sample_of(served, values, f"{path}, row {number}"), truth=rows[number])


def _load(path: Path) -> dict[str, NDArray[Any]]:
    with opened(path) as stream:
        if not zipfile.is_zipfile(stream):
            raise InputError(f"{path} is not a .npz file, as numpy.savez writes them, or it is cut short")
        stream.seek(0)
        try:
            with np.load(stream, allow_pickle=False) as archive:
                return dict(archive)
        except _DAMAGED as error:
            raise InputError(f"{path} cannot be read as .npz: {error}") from error


def _truth(labels: NDArray[Any], count: int, expected: int | None, path: Path) -> list[tuple[str | int, ...] | None]:
    width = labels.shape[1] if labels.ndim == 2 else 0
    if labels.dtype.kind not in "biuf" or labels.shape != (count, expected or width):
        wanted = f"numbers of shape [{count}, {expected or 'the number of labels'}]"
        raise InputError(f"{path}: labels are {labels.dtype} of shape {list(labels.shape)}, and must be {wanted}")
    unknown = ((labels == -1) | np.isnan(labels)).all(axis=1)
    wrong = ~np.isin(labels, (0, 1)).all(axis=1) & ~unknown
    if wrong.any():
        number = int(wrong.argmax())
        raise InputError(f"{path}, row {number}: labels must be 0 or 1")
    return [
        None if hidden else tuple(np.flatnonzero(row).tolist()) for row, hidden in zip(labels, unknown, strict=True)
    ]
