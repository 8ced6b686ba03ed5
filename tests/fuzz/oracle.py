"""The top k of `model.predict`, in plain numpy, and what is wrong with an answer that should be it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def wrong_sparse(dense: Any, served: Any, k: int, tolerance: float) -> str:
    """Say what is wrong with one row of which all but the k largest should be zero, or nothing."""
    if served.shape != dense.shape:
        return f"shape {served.shape} instead of {dense.shape}"
    kept = np.flatnonzero(np.isnan(served) | (served != 0))
    if len(kept) > k:
        return f"{len(kept)} scores are kept, not {k}"
    return _wrong_scores(dense, kept, served[kept], tolerance) or _wrong_set(dense, kept, k, tolerance)


def wrong_listed(
    dense: Any,
    indices: Any,
    scores: Any,
    labels: Sequence[bytes],
    every_label: Sequence[bytes],
    k: int,
    tolerance: float,
) -> str:
    """Say what is wrong with one row of places, best first, or nothing."""
    rest = (indices[k:].tolist(), scores[k:].tolist(), list(labels[k:]))
    unused = len(indices) - k
    if rest != ([-1] * unused, [0.0] * unused, [b""] * unused):
        return f"behind place {k} stands {rest}"
    indices, scores = indices[:k], scores[:k]
    if len(indices) != k or len(set(indices.tolist())) != k or not all(0 <= index < len(dense) for index in indices):
        return f"the indices are {indices.tolist()}, for k = {k}"
    if [every_label[index] for index in indices] != list(labels[:k]):
        return f"the labels {list(labels[:k])} do not belong to {indices.tolist()}"
    if not np.isnan(scores).any() and (np.diff(scores) > 0).any():
        return f"the scores {scores.tolist()} are not in falling order"
    return _wrong_scores(dense, indices, scores, tolerance) or _wrong_set(dense, indices, k, tolerance, whole=True)


def _wrong_scores(dense: Any, kept: Any, scores: Any, tolerance: float) -> str:
    if not np.allclose(scores, dense[kept], rtol=tolerance, atol=tolerance, equal_nan=True):
        return f"the scores of {kept.tolist()} are {scores.tolist()}, not {dense[kept].tolist()}"
    return ""


def _wrong_set(dense: Any, kept: Any, k: int, tolerance: float, *, whole: bool = False) -> str:
    """NaN ranks first, then higher scores, and of equal ones the lower index; near ties may swap."""
    order = np.lexsort((-dense, ~np.isnan(dense)))
    missing = np.setdiff1d(order[:k], kept)
    if not whole:
        # A score of zero cannot be told from one that was not kept.
        missing = missing[~(np.abs(dense[missing]) <= tolerance)]
    extra = np.setdiff1d(kept, order[:k])
    if not len(missing):
        return ""
    if len(set(dense.tolist())) == 1 or not len(extra):
        return f"{missing.tolist()} should be kept, and {extra.tolist()} are"
    gap = np.max(dense[missing]) - np.min(dense[extra])
    near = 2 * tolerance * (1 + np.max(np.abs(dense[missing])))
    # Where NaN is, nothing is near.
    return "" if gap <= near else f"{missing.tolist()} should be kept instead of {extra.tolist()}"


def wrong_classes(
    dense: Any, classes: Sequence[tuple[str, float]], every_label: Sequence[str], k: int, tolerance: float
) -> str:
    """Say what is wrong with an answer of the Classify API, or nothing. Labels may be there more than once."""
    used, unused = classes[:k], classes[k:]
    if any(pair != ("", 0.0) for pair in unused) or len(used) != k:
        return f"{len(used)} classes came for k = {k}, and behind them {unused}"
    best = np.sort(dense)[::-1][:k]
    scores = np.array([score for _, score in used], np.float32)
    if not np.isnan(dense).any() and not np.allclose(scores, best, rtol=tolerance, atol=tolerance):
        return f"the scores are {scores.tolist()}, not {best.tolist()}"
    by_label: Mapping[str, Any] = {label: dense[[each == label for each in every_label]] for label, _ in used}
    for label, score in used:
        if not np.isclose(by_label[label], score, rtol=tolerance, atol=tolerance, equal_nan=True).any():
            return f"{label!r} came with {score}, but has {by_label[label].tolist()}"
    return ""
