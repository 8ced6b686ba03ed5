"""Measure the quality of predicted labels, sample by sample, in the same way for the exporter and the client."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from signatures.contract.tolerances import Floats

# A label is predicted if it is kept with at least this score, unless its score has a bound of its own.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Tallies:
    """The counts that quality is computed from; each array has one entry for each of S samples.

    Attributes:
        exact: 1 if the predicted labels are the true ones, otherwise 0.
        hits: how many of the predicted labels are true.
        marked: how many labels are predicted, plus how many are true.
    """

    exact: NDArray[np.int64]
    hits: NDArray[np.int64]
    marked: NDArray[np.int64]


def predicted(served: Floats, bounds: Floats | None) -> NDArray[np.bool_]:
    """Return which labels an answer predicts, [S, N].

    Args:
        served: the scores of the kept labels and zeros, [S, N].
        bounds: the lowest scores to keep, [N], as `signatures.contract.bounds` has them; None if nothing bounds them.

    Example:
        >>> predicted(np.array([[0.4, 0.3, 0.9]]), np.array([0.0, 0.25, 0.0])).tolist()
        [[False, True, True]]
    """
    return served >= (THRESHOLD if bounds is None else np.where(bounds > 0, bounds, THRESHOLD))


def tallies(predicted: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Tallies:
    """Count what the predictions get right, from the predicted and the true labels, both [S, N].

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
    """Return the micro-averaged F1, 0 to 1, of sums of `Tallies`; 1 if no label is predicted and none is true.

    Example:
        >>> f1(3, 8)
        0.75
    """
    return 2 * hits / marked if marked else 1.0
