"""How good predicted labels are, sample by sample. The exporter and the client measure the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A label is predicted if it is kept with at least this score.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Tallies:
    """What quality is counted from; each array has an entry for each of S samples.

    Attributes:
        exact: 1 if the predicted labels are the true ones, otherwise 0.
        hits: how many of the predicted labels are true.
        marked: how many labels are predicted, plus how many are true.
    """

    exact: NDArray[np.int64]
    hits: NDArray[np.int64]
    marked: NDArray[np.int64]


def tallies(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Tallies:
    """Return what the predicted labels get right.

    Args:
        predicted: which labels are predicted, [S, N].
        truth: which labels are true, [S, N].

    Returns:
        The counts of each sample.

    Example:
        >>> tallies(np.array([[True, False], [True, True]]), np.array([[True, False], [True, False]])).exact.tolist()
        [1, 0]
    """
    return Tallies(
        exact=np.all(predicted == truth, axis=1).astype(np.int64),
        hits=np.sum(predicted & truth, axis=1),
        marked=np.sum(predicted, axis=1) + np.sum(truth, axis=1),
    )


def f1(hits: float, marked: float) -> float:
    """Return the micro-averaged F1, 0 to 1.

    Args:
        hits: how many of all predicted labels are true.
        marked: how many labels are predicted, plus how many are true.

    Returns:
        The F1; 1 if no label is predicted and none is true.

    Example:
        >>> f1(3, 8)
        0.75
    """
    return 2 * hits / marked if marked else 1.0
