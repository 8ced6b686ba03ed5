"""What is true of samples, as an array."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from client.errors import InputError
from client.samples.golden import Sample


def truth_of(samples: Sequence[Sample], labels: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which labels are true of which samples.

    Args:
        samples: S samples.
        labels: the model's N labels, by index.

    Returns:
        The truth, [S, N], and of which samples it is known, [S].

    Raises:
        InputError: for a label that the model does not have.

    Example:
        >>> truth_of([Sample({}, truth=("cat",)), Sample({})], ["dog", "cat"])[0].tolist()
        [[False, True], [False, False]]
    """
    truth = np.zeros((len(samples), len(labels)), bool)
    index = {label: number for number, label in reversed(list(enumerate(labels)))}
    for row, sample in enumerate(samples):
        for label in sample.truth or ():
            number = index.get(label) if isinstance(label, str) else label
            if number is None or not 0 <= number < len(labels):
                raise InputError(f"{sample.source} has the label {label!r}, and the model has {_some(labels)}")
            truth[row, number] = True
    return truth, np.array([sample.truth is not None for sample in samples], bool)


def _some(labels: Sequence[str]) -> str:
    """Return the labels, the first of many."""
    return ", ".join(labels) if len(labels) <= 10 else f"{', '.join(labels[:10])} and {len(labels) - 10} more"
