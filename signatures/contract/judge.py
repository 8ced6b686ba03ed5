"""Is one row of an answer right? Judged against dense scores, with ties in mind.

Two runs of one backbone may differ by a tolerance, so that two labels whose dense scores lie within twice of it may
swap places: a near tie. All else is a problem.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signatures.contract import names

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far apart two values may lie: atol + rtol * the expected one's magnitude."""

    rtol: float
    atol: float

    def __post_init__(self) -> None:
        # Nothing differs by more than NaN: with it, whatever is served would pass.
        if not (0 <= self.rtol < math.inf and 0 <= self.atol < math.inf):
            raise ValueError(
                f"a tolerance of rtol {self.rtol} and atol {self.atol} is not one: pass finite numbers from 0"
            )

    def around(self, expected: Floats) -> NDArray[np.float64]:
        """Return the difference allowed at each value."""
        return self.atol + self.rtol * np.abs(expected, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """What two runs of one backbone may differ by, and what two answers of one server.

    blind_to: what a check with these tolerances cannot see.
    """

    backbone: Tolerance
    head: Tolerance
    blind_to: tuple[str, ...] = ()


# CPUs of different makes differ by some 1e-6 in float32; rounding scores to float16 changes them by up to 5e-4. The
# head copies scores, so that all that differs between two of a server's answers is the order of a few additions.
CPU = Tolerances(backbone=Tolerance(rtol=1e-4, atol=1e-5), head=Tolerance(rtol=1e-5, atol=1e-6))
# GPUs use TF32 by default, which differs by some 1e-3 from a CPU's float32, and by that much between batch sizes.
GPU = Tolerances(
    backbone=Tolerance(rtol=1e-2, atol=2e-3),
    head=Tolerance(rtol=2e-3, atol=2e-4),
    blind_to=(
        "scores rounded to float16 or bfloat16",
        "weights that differ by less than about 1%",
        "the order of labels whose scores differ by less than about 0.5%",
    ),
)


# How far apart two runs of one backbone may be by the coarsest precision that it computes in, on CPUs too: Keras and a
# server run the same kernels, but fuse and thread them differently. Scores are at most 1, so that the absolute bound
# rules. Activations rounded to integers jump from one to the next where a float differs in its last bit: quantized
# layers are as coarse as float16.
_HALF = Tolerance(rtol=1e-2, atol=5e-3)
BACKBONES: Mapping[str, Tolerance] = {
    "float64": CPU.backbone,
    "float32": CPU.backbone,
    "mixed_float16": _HALF,
    **dict.fromkeys(("gptq", "awq", "float8", "int8", "int4"), _HALF),
    "mixed_bfloat16": Tolerance(rtol=5e-2, atol=2e-2),
}


def of_precision(tolerances: Tolerances, precision: str | None) -> Tolerances:
    """Return the tolerances, as wide for the backbone as a precision needs; what a user chose stays as it is.

    Example:
        >>> of_precision(CPU, "mixed_float16").backbone
        Tolerance(rtol=0.01, atol=0.005)
    """
    needed = BACKBONES.get(precision or "float32", CPU.backbone)
    given = tolerances.backbone
    if given not in (CPU.backbone, GPU.backbone) or needed.atol <= given.atol:
        return tolerances
    blind_to = (*tolerances.blind_to, f"scores that differ by less than {needed.atol:g}, as {precision} makes them")
    return replace(tolerances, backbone=needed, blind_to=blind_to)


def with_backbone(tolerances: Tolerances, rtol: float | None, atol: float | None) -> Tolerances:
    """Return the tolerances with those for the backbone replaced where they are given."""
    given = {name: value for name, value in (("rtol", rtol), ("atol", atol)) if value is not None}
    return replace(tolerances, backbone=replace(tolerances.backbone, **given))


@dataclass(frozen=True)
class Verdict:
    """What was found in one row: a problem and the entry it is at, a near tie, the largest difference of scores."""

    problem: str = ""
    entry: int | None = None
    near_tie: bool = False
    difference: float = 0.0


def ranking(scores: Floats) -> NDArray[np.intp]:
    """Return all indices, best first: NaN before all, then higher scores, of equal ones the lower index."""
    return np.lexsort((-scores, ~np.isnan(scores)))


def judge_dense(expected: Floats, served: Floats, tolerance: Tolerance, k: int) -> Verdict:
    """Judge a dense row against the expected one; a near tie is a difference between their top k labels."""
    if (broken := _not_finite(expected, served)) is not None:
        return broken
    difference = np.abs(served.astype(np.float64) - expected)
    largest = float(difference.max())
    if (entry := _first(difference > tolerance.around(expected))) is not None:
        allowed = tolerance.around(expected)[entry]
        problem = f"the score is {served[entry]:.7g}, expected {expected[entry]:.7g} within {allowed:.2g}"
        return Verdict(problem, entry, difference=largest)
    swapped = set(ranking(expected)[:k].tolist()) != set(ranking(served)[:k].tolist())
    return Verdict(near_tie=swapped, difference=largest)


def judge_sparse(dense: Floats, served: Floats, k: int, tolerance: Tolerance) -> Verdict:
    """Judge a row of which all but the k largest of `dense` should be zero; 0 <= k <= N."""
    if (broken := _not_finite(dense, served)) is not None:
        return broken
    kept = np.flatnonzero(served)
    if len(kept) > k:
        return Verdict(f"{len(kept)} scores are not zero, at most {k} may be", int(ranking(served)[k]))
    wrong, difference = _differing(dense[kept], served[kept], tolerance)
    if wrong is not None:
        entry = int(kept[wrong])
        return Verdict(f"the score is {served[entry]:.7g}, dense {dense[entry]:.7g}", entry, difference=difference)
    expected = ranking(dense)[:k]
    missing = np.setdiff1d(expected, kept)
    if len(kept) < k:
        # The rest was kept too, and is zero: then so are, within tolerance, all scores that are not shown.
        hidden = missing[np.abs(dense[missing]) > tolerance.around(np.zeros_like(dense[missing]))]
        if len(hidden):
            entry = int(hidden[0])
            problem = f"only {len(kept)} of {k} scores are kept, and the dense {dense[entry]:.7g} is missing"
            return Verdict(problem, entry, difference=difference)
        return Verdict(difference=difference)
    return _swaps(dense, served[kept], kept, expected, difference, tolerance)


def judge_listed(
    dense: Floats,
    indices: NDArray[Any],
    scores: Floats,
    served_labels: NDArray[Any],
    labels: NDArray[Any],
    k: int,
    tolerance: Tolerance,
) -> Verdict:
    """Judge a row of a top_k answer: k places, best first, then padding.

    served_labels, labels: bytes, those of the row and those of all indices.
    """
    if (broken := _not_finite(dense, scores)) is not None:
        return broken
    used = (indices != names.NO_INDEX) | (scores != names.NO_SCORE) | (served_labels != names.NO_LABEL.encode())
    if (place := _first(used[k:])) is not None:
        place += k
        found = (int(indices[place]), float(scores[place]), _text(served_labels[place]))
        return Verdict(f"place {place} should be unused (-1, 0, ''), but holds {found}", place)
    listed, kept_scores = indices[:k].astype(np.int64), scores[:k]
    if (place := _first((listed < 0) | (listed >= len(dense)))) is not None:
        return Verdict(f"place {place} holds the index {listed[place]}, outside 0 to {len(dense) - 1}", place)
    if len(np.unique(listed)) < k:
        return Verdict(f"an index is listed twice: {listed.tolist()}")
    if (place := _first(served_labels[:k] != labels[listed])) is not None:
        have, want = _text(served_labels[place]), _text(labels[listed[place]])
        return Verdict(f"index {listed[place]} is labeled {have!r}, expected {want!r}", place)
    higher, equal = kept_scores[1:] > kept_scores[:-1], kept_scores[1:] == kept_scores[:-1]
    if (place := _first(higher | (equal & (listed[1:] < listed[:-1])))) is not None:
        return Verdict(f"places {place} and {place + 1} are out of order", place + 1)
    wrong, difference = _differing(dense[listed], scores[:k], tolerance)
    if wrong is not None:
        problem = f"the score of index {listed[wrong]} is {scores[wrong]:.7g}, dense {dense[listed[wrong]]:.7g}"
        return Verdict(problem, wrong, difference=difference)
    return _swaps(dense, scores[:k], listed, ranking(dense)[:k], difference, tolerance)


def _swaps(
    dense: Floats,
    scores: Floats,
    kept: NDArray[Any],
    expected: NDArray[Any],
    difference: float,
    tolerance: Tolerance,
) -> Verdict:
    """Judge which entries were kept, as many as were expected."""
    missing, extra = np.setdiff1d(expected, kept), np.setdiff1d(kept, expected)
    if not len(missing):
        return Verdict(difference=difference)
    best, worst = missing[np.argmax(dense[missing])], extra[np.argmin(dense[extra])]
    allowed = tolerance.around(dense[best]) + tolerance.around(dense[worst])
    gap = float(dense[best]) - float(dense[worst])
    # Where not one bit differs from the dense run there was no noise to swap equal scores: the order of ties is wrong.
    if gap > allowed or (gap == 0 and np.array_equal(scores, dense[kept])):
        problem = f"entry {worst} ({dense[worst]:.7g}) is kept instead of entry {best} ({dense[best]:.7g})"
        return Verdict(problem, int(worst), difference=difference)
    return Verdict(near_tie=True, difference=difference)


def _differing(expected: Floats, served: Floats, tolerance: Tolerance) -> tuple[int | None, float]:
    difference = np.abs(served.astype(np.float64) - expected)
    return _first(difference > tolerance.around(expected)), float(difference.max(initial=0))


def _not_finite(expected: Floats, served: Floats) -> Verdict | None:
    for what, scores in (("served score", served), ("score to compare with", expected)):
        if (entry := _first(~np.isfinite(scores))) is not None:
            return Verdict(f"the {what} is {scores[entry]}", entry)
    return None


def _text(label: bytes) -> str:
    return label.decode(errors="backslashreplace")


def _first(wrong: NDArray[np.bool_]) -> int | None:
    places = np.flatnonzero(wrong)
    return int(places[0]) if len(places) else None
