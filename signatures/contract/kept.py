"""Which entries of a row must be kept, and which may be, given that two runs of one backbone differ slightly.

An entry is kept if it is among the k largest and not below its bound. The cut by k comes first: bounds only take away.
Entries near the cut may swap places, and entries near their bound may be kept or not. These are near ties.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from signatures.contract.tolerances import Floats, Tolerance

_Indices: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True)
class Verdict:
    """The verdict on one row: a problem and its entry, a near tie, the largest difference between scores.

    kept_at_bound: whether the row keeps an entry whose score equals its bound; None if there is no such entry, or if
    noise may have moved its score.
    """

    problem: str = ""
    entry: int | None = None
    near_tie: bool = False
    difference: float = 0.0
    kept_at_bound: bool | None = None


def ranking(scores: Floats) -> NDArray[np.intp]:
    """Return all indices of a row, best first: NaN first, then by score; of equal scores, the lower index first.

    Example:
        >>> ranking(np.array([0.1, 0.9, np.nan, 0.9])).tolist()
        [2, 1, 3, 0]
    """
    return _ranking(np.ascontiguousarray(scores).tobytes(), scores.dtype.str)


# Every question about a batch ranks the same rows again, and 100,000 labels take 10 ms.
@lru_cache(maxsize=16)
def _ranking(scores: bytes, dtype: str) -> NDArray[np.intp]:
    row = np.frombuffer(scores, dtype)
    order = np.lexsort((-row, ~np.isnan(row)))
    order.setflags(write=False)
    return order


def without(indices: NDArray[Any], others: NDArray[Any], labels: int) -> NDArray[np.intp]:
    """Return the indices, from 0 to labels - 1, that are not among others, in ascending order.

    Example:
        >>> without(np.array([3, 1, 2]), np.array([2, 0]), 4).tolist()
        [1, 3]
    """
    left = np.zeros(labels, np.bool_)
    left[indices] = True
    left[others] = False
    return np.flatnonzero(left)


def judge_swaps(
    dense: Floats,
    scores: Floats,
    kept: NDArray[Any],
    expected: NDArray[Any],
    difference: float,
    tolerance: Tolerance,
) -> Verdict:
    """Judge which entries were kept, given that there are no bounds and that their number is right."""
    missing, extra = without(expected, kept, len(dense)), without(kept, expected, len(dense))
    if not len(missing):
        return Verdict(difference=difference)
    best, worst = _widest(dense, missing, extra)
    if _too_far(dense, best, worst, tolerance, np.array_equal(scores, dense[kept])):
        problem = f"entry {worst} ({dense[worst]:.7g}) is kept instead of entry {best} ({dense[best]:.7g})"
        return Verdict(problem, int(worst), difference=difference)
    return Verdict(near_tie=True, difference=difference)


def judge_bounded(
    dense: Floats,
    scores: Floats,
    kept: NDArray[Any],
    k: int,
    bounds: Floats,
    difference: float,
    tolerance: Tolerance,
    *,
    zeros_hide: bool,
) -> Verdict:
    """Judge which entries were kept if scores are bounded.

    Args:
        dense: the server's own dense scores, [N].
        scores: the scores of the kept entries.
        kept: the indices of the kept entries, at most k.
        k: how many entries may be kept, from 0 to N.
        bounds: the lowest score to keep for each label, [N]. 0 or less bounds nothing.
        difference: the largest difference between the kept scores and the dense ones, for the verdict.
        tolerance: how much a score may differ between two runs.
        zeros_hide: whether a kept score of zero looks like an entry that is not kept.
    """
    # The head compares the very scores that it answers with, so noise is no excuse for one below its bound.
    below = np.flatnonzero((scores < bounds[kept]) & (bounds[kept] > 0))
    if len(below):
        entry, score = int(kept[below[0]]), scores[below[0]]
        problem = f"entry {entry} is kept with a score of {score:.7g}, below its bound of {bounds[entry]:.7g}"
        return Verdict(problem, entry, difference=difference)
    order = ranking(dense)
    best, rest = order[:k], order[k:]
    required = best[~((dense[best] < bounds[best]) & (bounds[best] > 0))]
    # Entries that another run may have found below their bound, and entries that may be kept without being seen.
    near_bound = (bounds > 0) & (dense - tolerance.around(dense) < bounds)
    hidden = zeros_hide & (bounds <= 0) & (np.abs(dense) <= tolerance.around(np.zeros_like(dense)))
    missing, extra = without(required[~hidden[required]], kept, len(dense)), without(kept, best, len(dense))
    # Entries of the top k that were replaced in another run, and the entries that replaced them.
    lost = missing[~near_bound[missing]]
    unkept = best[~np.isin(best, kept) & ~np.isin(best, lost)]
    replaced = np.concatenate([lost, unkept[len(unkept) - max(len(extra) - len(lost), 0) :]])
    unseen = rest[(near_bound | hidden)[rest] & ~np.isin(rest, kept)]
    replacing = np.concatenate([extra, unseen[: max(len(lost) - len(extra), 0)]])
    exact = len(kept) > 0 and np.array_equal(scores, dense[kept])
    fits = len(replaced) == len(replacing)
    if len(replaced) and not (fits and not _too_far(dense, *_widest(dense, replaced, replacing), tolerance, exact)):
        return _replaced_wrongly(dense, bounds, k, lost, extra, difference)
    return Verdict(
        near_tie=bool(len(missing) or len(without(kept, required, len(dense)))),
        difference=difference,
        kept_at_bound=_kept_at_bound(dense, scores, kept, required, bounds, exact),
    )


def _replaced_wrongly(
    dense: Floats, bounds: Floats, k: int, lost: _Indices, extra: _Indices, difference: float
) -> Verdict:
    if len(extra):
        entry = int(extra[np.argmin(dense[extra])])
        problem = f"entry {entry} ({dense[entry]:.7g}) is kept, and is not one of the {k} largest"
    else:
        entry = int(lost[np.argmax(dense[lost])])
        reached = f"reaches its bound of {bounds[entry]:.7g}" if bounds[entry] > 0 else "has no bound"
        problem = f"entry {entry} ({dense[entry]:.7g}) is missing: it is one of the {k} largest and {reached}"
    return Verdict(problem, entry, difference=difference)


def _kept_at_bound(
    dense: Floats, scores: Floats, kept: NDArray[Any], required: _Indices, bounds: Floats, exact: bool
) -> bool | None:
    if ((scores == bounds[kept]) & (bounds[kept] > 0)).any():
        return True
    at_bound = (dense[required] == bounds[required]) & (bounds[required] > 0)
    return False if exact and at_bound.any() else None


def _widest(dense: Floats, replaced: _Indices, replacing: _Indices) -> tuple[Any, Any]:
    return replaced[np.argmax(dense[replaced])], replacing[np.argmin(dense[replacing])]


def _too_far(dense: Floats, best: Any, worst: Any, tolerance: Tolerance, exact: bool) -> bool:
    """Return whether noise cannot explain that one entry took another's place."""
    allowed = tolerance.around(dense[best]) + tolerance.around(dense[worst])
    gap = float(dense[best]) - float(dense[worst])
    # If no bit differs from the dense run, there was no noise that could swap equal scores: the order of ties is wrong.
    return bool(gap > allowed or (gap == 0 and exact))
