"""Bounds on scores: what `min_score` and the thresholds of labels come to, and whether a server treats them as it must.

A score is kept if it is at least its bound, to the bit: a bound is no place for a tolerance.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from signatures.contract.kept import Verdict
from signatures.contract.tolerances import Floats

# As many rows must agree before they say something: noise alone moves a score below its bound every other time.
_ROWS = 4


def shortest(value: float) -> float:
    """Return the shortest decimal number that is the same float32, as records and reports show it.

    Example:
        >>> shortest(float(np.float32(0.3)))
        0.3
    """
    return float(str(np.float32(value)))


def bounds_of(min_score: float, thresholds: Sequence[float], labels: int) -> Floats | None:
    """Return the lowest score to keep of each of N labels, where 0 or less bounds nothing; None if nothing is bounded.

    `min_score` is that of the request; `thresholds` are those of the labels, or empty.

    Example:
        >>> bounds_of(0.25, (0.5, 0.0), 2).tolist()
        [0.5, 0.25]
        >>> bounds_of(0.0, (), 2) is None
        True
    """
    bounds = np.full(labels, min_score, np.float32)
    if len(thresholds):
        bounds = np.maximum(bounds, np.array(thresholds, np.float32))
    return bounds if (bounds > 0).any() else None


def strict_bounds(verdicts: Iterable[Verdict]) -> str:
    """Return what is wrong if scores that equal their bound are never kept in the rows of a signature, or "".

    In a single row, noise may have moved such a score below its bound; in several rows without any noise, it has not.

    Example:
        >>> strict_bounds([Verdict(kept_at_bound=False)] * 4)
        '4 rows hold a score that equals its bound, and none is kept: a score of the bound itself must be'
    """
    seen = [verdict.kept_at_bound for verdict in verdicts if verdict.kept_at_bound is not None]
    if len(seen) < _ROWS or any(seen):
        return ""
    return f"{len(seen)} rows hold a score that equals its bound, and none is kept: a score of the bound itself must be"
