"""Judge a row of an answer: compare it with dense scores, taking ties into account.

Two runs of one backbone may differ by a tolerance. So two labels may swap places if their dense scores are less than
twice the tolerance apart: this is a near tie. Every other difference is a problem. The module `kept` judges which
entries may be present.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from signatures.contract import names
from signatures.contract.kept import Verdict, judge_bounded, judge_swaps, ranking, without
from signatures.contract.tolerances import Floats, Tolerance


def judge_dense(expected: Floats, served: Floats, tolerance: Tolerance, k: int) -> Verdict:
    """Compare a dense row with the expected one.

    Args:
        expected: the expected scores, [N].
        served: the server's scores, [N].
        tolerance: how much they may differ.
        k: a different set of top k entries, within the tolerance, counts as a near tie.

    Example:
        >>> from signatures.contract.tolerances import CPU
        >>> judge_dense(np.array([0.9, 0.1]), np.array([0.5, 0.1]), CPU.backbone, k=1).problem
        'the score is 0.5, expected 0.9 within 0.0001'
    """
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


def judge_sparse(dense: Floats, served: Floats, k: int, tolerance: Tolerance, bounds: Floats | None = None) -> Verdict:
    """Judge a row that should be zero except for the k largest entries of `dense` that reach their bounds.

    Args:
        dense: the server's own dense scores, [N].
        served: the row, [N].
        k: how many entries may be kept, from 0 to N.
        tolerance: how much a kept score may differ.
        bounds: the lowest score to keep for each label, [N], or None if there are no bounds.

    Example:
        >>> from signatures.contract.tolerances import CPU
        >>> judge_sparse(np.array([0.9, 0.5]), np.array([0.9, 0.5]), 1, CPU.head).problem
        '2 scores are not zero, at most 1 may be'
    """
    if (broken := _not_finite(dense, served)) is not None:
        return broken
    kept = np.flatnonzero(served)
    if len(kept) > k:
        return Verdict(f"{len(kept)} scores are not zero, at most {k} may be", int(ranking(served)[k]))
    wrong, difference = _differing(dense[kept], served[kept], tolerance)
    if wrong is not None:
        entry = int(kept[wrong])
        return Verdict(f"the score is {served[entry]:.7g}, dense {dense[entry]:.7g}", entry, difference=difference)
    if bounds is not None:
        return judge_bounded(dense, served[kept], kept, k, bounds, difference, tolerance, zeros_hide=True)
    expected = ranking(dense)[:k]
    missing = without(expected, kept, len(dense))
    if len(kept) < k:
        # The rest may have been kept too, as zeros. Then all missing scores must be zero, within the tolerance.
        hidden = missing[np.abs(dense[missing]) > tolerance.around(np.zeros_like(dense[missing]))]
        if len(hidden):
            entry = int(hidden[0])
            problem = f"only {len(kept)} of {k} scores are kept, and the dense {dense[entry]:.7g} is missing"
            return Verdict(problem, entry, difference=difference)
        return Verdict(difference=difference)
    return judge_swaps(dense, served[kept], kept, expected, difference, tolerance)


def judge_listed(
    dense: Floats,
    indices: NDArray[Any],
    scores: Floats,
    served_labels: NDArray[Any],
    labels: NDArray[Any],
    k: int,
    tolerance: Tolerance,
    bounds: Floats | None = None,
) -> Verdict:
    """Judge a row of a top_k answer: k places, best first, then padding. With bounds, fewer places may be used.

    Args:
        dense: the server's own dense scores, [N].
        indices: the indices of the row.
        scores: the scores of the row.
        served_labels: the labels of the row, as bytes.
        labels: the labels of all indices, as bytes.
        k: how many places may be used, from 0 to N.
        tolerance: how much a score may differ.
        bounds: the lowest score to keep for each label, [N], or None if there are no bounds and k places are used.
    """
    if (broken := _not_finite(dense, scores)) is not None:
        return broken
    allowed = k
    if bounds is not None:
        k = next(iter(np.flatnonzero(indices[:k] == names.NO_INDEX).tolist()), min(k, len(indices)))
    used = (indices != names.NO_INDEX) | (scores != names.NO_SCORE) | (served_labels != names.NO_LABEL.encode())
    if (place := _first(used[k:])) is not None:
        place += k
        found = (int(indices[place]), float(scores[place]), _text(served_labels[place]))
        return Verdict(f"place {place} should be unused (-1, 0, ''), but holds {found}", place)
    listed, kept_scores = indices[:k].astype(np.int64), scores[:k]
    if (place := _first((listed < 0) | (listed >= len(dense)))) is not None:
        return Verdict(f"place {place} holds the index {listed[place]}, outside 0 to {len(dense) - 1}", place)
    if np.bincount(listed, minlength=1).max() > 1:
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
    if bounds is not None:
        return judge_bounded(dense, scores[:k], listed, allowed, bounds, difference, tolerance, zeros_hide=False)
    return judge_swaps(dense, scores[:k], listed, ranking(dense)[:k], difference, tolerance)


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
