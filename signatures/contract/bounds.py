"""Bounds on scores: combine `min_score` with the thresholds of labels, and judge whether a server applies them right.

A score is kept if it is at least its bound. The comparison is exact, without any tolerance.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from signatures.contract.kept import Verdict
from signatures.contract.tolerances import Floats

# How many rows must agree to prove anything: noise alone moves a score below its bound half of the time.
_ROWS = 4


def shortest(value: float) -> float:
    """Return the shortest decimal number with the same float32 value, for records and reports.

    Example:
        >>> shortest(float(np.float32(0.3)))
        0.3
    """
    return float(str(np.float32(value)))


def bounds_of(min_score: float, thresholds: Sequence[float], labels: int) -> Floats | None:
    """Return the lowest score to keep for each of N labels, 0 or less for no bound; None if no label has one.

    `min_score` is the request's; `thresholds` are the labels', or empty.

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
    """Return a problem if the rows of a signature never keep a score that equals its bound, otherwise "".

    In one row, noise may have moved such a score below its bound. In several rows without any noise, it has not.

    Example:
        >>> strict_bounds([Verdict(kept_at_bound=False)] * 4)
        '4 rows hold a score that equals its bound, and none is kept: each must be kept'
    """
    seen = [verdict.kept_at_bound for verdict in verdicts if verdict.kept_at_bound is not None]
    if len(seen) < _ROWS or any(seen):
        return ""
    return f"{len(seen)} rows hold a score that equals its bound, and none is kept: each must be kept"
