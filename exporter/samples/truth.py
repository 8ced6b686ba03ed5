"""The true labels of samples, from the names or the indices in a file."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporter.errors import ExportError
from exporter.samples.samples import Samples

# The name of the label in TensorFlow's own image pipelines.
LABEL_FEATURE = "image/class/label"

_SHOWN = 10


def truth_by_index(
    rows: npt.NDArray[np.int64], indices: npt.NDArray[np.int64], shape: tuple[int, int], file: Path
) -> npt.NDArray[np.bool_]:
    """Return the truth [S, N] from the rows and the indices of all true labels.

    Raises:
        ExportError: when an index is not that of a label.
    """
    wrong = indices[(indices < 0) | (indices >= shape[1])]
    if len(wrong):
        raise ExportError(f"{file} has {LABEL_FEATURE} {wrong[0]}; the model's labels are 0 to {shape[1] - 1}.")
    truth = np.zeros(shape, bool)
    truth[rows, indices] = True
    return truth


def with_truth(samples: Samples, named: Sequence[Sequence[Any] | None], labels: Sequence[str], file: Path) -> Samples:
    """Return samples with the true labels of each; None stands for a sample whose true labels are unknown.

    Raises:
        ExportError: when the model does not have a label.
    """
    truth = np.zeros((len(named), len(labels)), bool)
    # The first of equal labels wins.
    places = {label: place for place, label in reversed(list(enumerate(labels)))}
    for row, true in enumerate(named):
        for label in map(str, true or ()):
            if label not in places:
                raise ExportError(f"{file} names the label {label!r}; the model's labels are {first_of(labels)}.")
            truth[row, places[label]] = True
    return with_known(samples, truth, np.array([true is not None for true in named]))


def first_of(labels: Sequence[str]) -> str:
    """Return the first labels for an error message, which has no room for thousands.

    Example:
        >>> first_of(["cat", "dog"])
        'cat, dog'
    """
    return ", ".join(labels[:_SHOWN]) + (", ..." if len(labels) > _SHOWN else "")


def with_known(samples: Samples, truth: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]) -> Samples:
    """Return samples with their truth, if any of it is known."""
    return replace(samples, truth=truth, known=known) if known.any() else samples
