"""The quality of two versions on the same labeled samples, and how sure the difference is."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from client.comparison.results import EXACT_MATCH, F1, Limits, QualityChange
from signatures.contract.quality import Tallies, f1

# The percentiles at the ends of a 95% confidence interval.
_ENDS = (2.5, 97.5)
_RESAMPLES = 2000


def quality_changes(
    before: Tallies, after: Tallies, slices: Mapping[str, Sequence[int]], limits: Limits
) -> Iterator[QualityChange]:
    """Yield how exact match and F1 differ on all samples and on each slice.

    The interval comes from a paired bootstrap: samples are drawn again, each with the answers of both versions, so that
    what both get wrong does not widen it. `slices` holds the numbers of the samples in each slice.
    """
    columns = [before.exact, before.hits, before.marked, after.exact, after.hits, after.marked]
    counts = np.stack(columns, axis=1).astype(np.float64)
    for name, chosen in {"": range(len(counts)), **slices}.items():
        yield from _changes(name, counts[list(chosen)], limits)


def _changes(name: str, counts: NDArray[np.float64], limits: Limits) -> Iterator[QualityChange]:
    whole, drawn = counts.sum(axis=0, keepdims=True), _drawn(counts)
    for metric, allowed in ((EXACT_MATCH, limits.exact_match_drop), (F1, limits.f1_drop)):
        old, new = (float(values[0]) for values in _values(metric, whole, len(counts)))
        low, high = np.percentile(np.subtract(*_values(metric, drawn, len(counts))), _ENDS)
        yield QualityChange(
            metric=metric,
            slice=name,
            samples=len(counts),
            before=old,
            after=new,
            low=float(low),
            high=float(high),
            allowed=allowed,
            passed=None if allowed is None else bool(high <= allowed),
        )


def _drawn(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sums of the counts over samples drawn with replacement, a row for each drawing."""
    # Most samples have the same counts: drawing how many of each kind is equivalent, and much faster.
    kinds, times = np.unique(counts, axis=0, return_counts=True)
    random = np.random.default_rng(0)
    drawn: NDArray[np.float64] = random.multinomial(len(counts), times / len(counts), size=_RESAMPLES) @ kinds
    return drawn


def _values(metric: str, sums: NDArray[np.float64], samples: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values of both versions for each row of sums."""
    if metric == EXACT_MATCH:
        return sums[:, 0] / samples, sums[:, 3] / samples
    old, new = (np.array([f1(hits, marked) for hits, marked in sums[:, first : first + 2]]) for first in (1, 4))
    return old, new
