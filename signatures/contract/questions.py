"""The questions that both the exporter's validation and the client's check ask every signature."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from signatures.contract import names
from signatures.contract.bounds import bounds_of
from signatures.contract.tolerances import Floats

# The lowest rank whose score is used as a bound. With a bound, twice this number as k keeps answers short.
_DEEPEST = 8


@dataclass(frozen=True, kw_only=True)
class ExportedLimits:
    """The limits of an answer if a request sets none, and the thresholds, which always apply.

    Attributes:
        k: the default k.
        min_score: the default min_score.
        thresholds: the lowest score to keep for each label; empty if labels have no thresholds.
    """

    k: int
    min_score: float = 0.0
    thresholds: Sequence[float] = ()


@dataclass(frozen=True)
class Question:
    """The limits of a request, as they are sent and as they apply to each example.

    Attributes:
        name: the limits as reports show them, after "k ".
        sent: k and min_score as they are sent: a scalar, [1] or [B]. A limit that is left out is absent.
        k: the k that applies to each example, clamped to [0, N].
        bounds: the bounds that apply to each example, [N], or None for an example without bounds.
        per_example: the same limits with one value per example, a form that every server takes.
    """

    name: str
    sent: Mapping[str, NDArray[Any]]
    k: tuple[int, ...]
    bounds: tuple[Floats | None, ...]
    per_example: Mapping[str, NDArray[Any]]

    @property
    def asked(self) -> str:
        """The limits in words."""
        return f"k {self.name}" if self.name.startswith("left out") else f"k = {self.name}"

    @property
    def bounded(self) -> bool:
        """Whether any example has a bound."""
        return any(bounds is not None for bounds in self.bounds)


def questions(*, takes: Collection[str], exported: ExportedLimits, dense: Floats, thorough: bool) -> Iterator[Question]:
    """Yield the questions for a request.

    Args:
        takes: which of k and min_score the signature takes.
        exported: what applies if a request leaves them out.
        dense: the server's own dense scores for the request, [B, N]. Bounds are placed at and between them.
        thorough: whether to send the limits in every form, with values at and beyond the ends of their ranges, instead
            of only leaving them out and sending one per example. It takes about twelve requests, for any examples.

    Example:
        >>> dense = np.array([[0.75, 0.5], [0.25, 0.5]], np.float32)
        >>> asked = questions(takes=["k", "min_score"], exported=ExportedLimits(k=1), dense=dense, thorough=False)
        >>> [question.name for question in asked]
        ['left out', '[1, -1] (one per example)', '[1, -1] (one per example), min_score [0.75, 0.5] (one per example)']
    """
    # The judge finds NaN in any case. Some processors treat denormal numbers as zero.
    dense = np.nan_to_num(dense, nan=0, posinf=0, neginf=0)
    dense[np.abs(dense) < np.finfo(np.float32).tiny] = 0
    examples, labels = dense.shape

    def question(k: Any = None, min_score: Any = None) -> Question:
        return question_of(k, min_score, takes=takes, exported=exported, shape=(examples, labels))

    yield question()
    if names.K not in takes:
        return
    bounds = names.MIN_SCORE in takes
    scores = [_best_first(row, exported.thresholds) for row in dense]
    if thorough:
        yield from (question(k) for k in _ks_to_ask(exported.k, examples, labels))
        if bounds:
            yield from (question(*limits) for limits in _bounds_to_ask(scores, labels))
        return
    # From -1 to N + 1, so that both ends are clamped if there are enough examples.
    mixed = [(row * 3 + 2) % (labels + 3) - 1 for row in range(examples)]
    yield question(mixed)
    if bounds:
        yield question(mixed, [_at(row, max(k, 0) // 2) for row, k in zip(scores, mixed, strict=True)])


def _ks_to_ask(exported: int, examples: int, labels: int) -> Iterator[Any]:
    """Yield k in every form: a scalar beyond both ends, which is clamped, a single element, and one per example.

    Each example costs a run of the backbone, so values that need no form of their own share requests.
    """
    yield -1
    yield labels + 3
    yield (exported,)
    values = sorted({0, 1, exported, labels - 1, labels})
    for start in range(0, len(values), examples):
        yield _filled(values[start : start + examples], examples)


def _bounds_to_ask(scores: Sequence[Floats], labels: int) -> Iterator[tuple[Any, Any]]:
    """Yield k and min_score, with bounds at scores, just above one, between two, above all, and one without effect."""
    examples, first, k = len(scores), scores[0], min(labels, 2 * _DEEPEST)
    ranks = sorted({1, 2, min(labels // 2, _DEEPEST)})
    yield None, float((first[0].astype(np.float64) + _at(first, 1)) / 2)
    yield k, (_at(first, ranks[-1]),)
    yield k, max(_at(row, 0) for row in scores) + 1
    # In requests with one value per example. A server that rounds bounds keeps a score just below its bound.
    values = [*(partial(_at, rank=rank) for rank in ranks), partial(_above, rank=ranks[-1]), lambda row: -1.0]
    for start in range(0, len(values), examples):
        each = _filled(values[start : start + examples], examples)
        yield [k] * examples, [value(row) for value, row in zip(each, scores, strict=True)]


def _best_first(row: Floats, thresholds: Sequence[float]) -> Floats:
    """Return the scores of a row that no threshold hides, best first; if all are hidden, return all."""
    shown = row >= np.array(thresholds, np.float32) if thresholds else np.ones(len(row), np.bool_)
    return np.sort(row[shown] if shown.any() else row)[::-1]


def _filled(values: Sequence[Any], length: int) -> list[Any]:
    """Repeat values up to this length."""
    return [values[place % len(values)] for place in range(length)]


def _at(scores: Floats, rank: int) -> float:
    """Return the score at a rank, counted from 0, of scores sorted best first; the last one if there are too few."""
    return float(scores[min(rank, len(scores) - 1)])


def _above(scores: Floats, rank: int) -> float:
    """Return the next number above the score at a rank; 0, which bounds nothing, if that score is not positive."""
    at = np.float32(_at(scores, rank))
    return float(np.nextafter(at, np.float32(np.inf))) if at > 0 else 0.0


def question_of(
    k: Any, min_score: Any, *, takes: Collection[str], exported: ExportedLimits, shape: tuple[int, ...]
) -> Question:
    """Return the question for one k and min_score.

    Args:
        k: a number, a tuple of one, or a list with one per example. None leaves it out.
        min_score: the same.
        takes: which of the two the signature takes.
        exported: what applies if they are left out.
        shape: the numbers of examples and labels, [B, N].

    Example:
        >>> asked = question_of(1, None, takes=["k"], exported=ExportedLimits(k=2), shape=(2, 8))
        >>> asked.name, asked.k, asked.bounds
        ('1', (1, 1), (None, None))
    """
    examples, labels = shape
    name = "left out" if k is None else _shown(k)
    if min_score is not None:
        name += f", min_score {_shown(min_score)}"
    given = {names.K: (k, exported.k, np.int32), names.MIN_SCORE: (min_score, exported.min_score, np.float32)}
    sent, each = {}, {}
    for key, (value, default, kind) in given.items():
        if value is not None:
            sent[key] = np.array(value, kind)
        each[key] = np.broadcast_to(np.array(default if value is None else value, kind).reshape(-1), examples)
    return Question(
        name,
        sent,
        tuple(np.clip(each[names.K], 0, labels).tolist()),
        tuple(bounds_of(float(value), exported.thresholds, labels) for value in each[names.MIN_SCORE]),
        {key: np.array(array) for key, array in each.items() if key in takes},
    )


def _shown(value: Any) -> str:
    if not isinstance(value, list | tuple):
        return f"{value}" if isinstance(value, int) else f"{value:.7g}"
    listed = f"[{', '.join(_shown(each) for each in value)}]"
    return f"{listed} (one per example)" if isinstance(value, list) else listed
