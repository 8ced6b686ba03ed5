"""The forms of an answer: how to check its shape, extract its dense scores and judge its rows.

A new output form needs an AnswerForm here. The check and the exporter's validation then treat it like all others.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from signatures.contract import names
from signatures.contract.judge import judge_listed, judge_sparse
from signatures.contract.kept import Verdict
from signatures.contract.tolerances import Tolerance

Outputs: TypeAlias = Mapping[str, NDArray[Any]]
Scores: TypeAlias = NDArray[np.float32]
# The N labels as an object array of bytes.
Labels: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class AnswerForm:
    """One way to answer, from the point of view of the client.

    Attributes:
        dtypes: the outputs and their dtypes; strings are object arrays of bytes.
        width: returns the second dimension of each output, from N and the largest k in the request.
        judge: judges one row, from its outputs, the server's own dense scores [N], its k, its bounds [N] or None, the
            labels and a tolerance.
        dense: returns the dense scores, [B, N], from the outputs of a request with k = N, and "" or what is wrong.
        narrows: whether an answer may be narrower than its width if scores are bounded.
    """

    dtypes: Mapping[str, Any]
    width: Callable[[int, int], int]
    judge: Callable[[Outputs, Scores, int, Scores | None, Labels, Tolerance], Verdict]
    dense: Callable[[Outputs, Labels], tuple[Scores, str]]
    narrows: bool = False

    def problem(
        self, outputs: Outputs, rows: int, labels: int, k: int, *, padded: bool = False, bounded: bool = False
    ) -> str:
        """Return what is wrong with the dtypes and shapes of outputs, or "" if nothing is.

        Args:
            outputs: the outputs by name.
            rows: how many examples the request held.
            labels: N.
            k: the largest k in the request.
            padded: whether a server that merges requests may have widened the rows.
            bounded: whether bounds may have left fewer than k entries in a row.
        """
        width = self.width(labels, k)
        for name, dtype in self.dtypes.items():
            if name not in outputs:
                return f"the output {name} is missing"
            array, shape = outputs[name], (rows, width)
            matrix = array.ndim == 2 and array.shape[0] == rows
            wider = matrix and padded and array.shape[1] >= width
            narrower = matrix and bounded and self.narrows and array.shape[1] <= width
            if array.dtype != dtype or not (array.shape == shape or wider or narrower):
                expected = f"{np.dtype(dtype)} {list(shape)}"
                return f"the output {name} is {array.dtype} {list(array.shape)}, expected {expected}"
        return ""


def form_of(outputs: Collection[str]) -> AnswerForm | None:
    """Return the form of an answer with these output names, or None if no known form matches.

    An answer may also hold other outputs of the model, which no form judges.

    Example:
        >>> sorted(form_of(["indices", "scores", "labels"]).dtypes)
        ['indices', 'labels', 'scores']
        >>> form_of(["logits"]) is None
        True
    """
    return next((form for form in ANSWER_FORMS if set(form.dtypes) <= set(outputs)), None)


def encoded(labels: Sequence[str]) -> Labels:
    """Return labels as a server sends them: an object array of bytes.

    Example:
        >>> encoded(["cat", "dog"]).tolist()
        [b'cat', b'dog']
    """
    array = np.empty(len(labels), object)
    array[:] = [label.encode() for label in labels]
    return array


def _judge_sparse_row(
    row: Outputs, dense: Scores, k: int, bounds: Scores | None, labels: Labels, tolerance: Tolerance
) -> Verdict:
    return judge_sparse(dense, row[names.PROBABILITIES], k, tolerance, bounds)


def _judge_dense_row(
    row: Outputs, dense: Scores, k: int, bounds: Scores | None, labels: Labels, tolerance: Tolerance
) -> Verdict:
    return judge_sparse(dense, row[names.DENSE_PROBABILITIES], len(dense), tolerance)


def _judge_listed_row(
    row: Outputs, dense: Scores, k: int, bounds: Scores | None, labels: Labels, tolerance: Tolerance
) -> Verdict:
    listed = (row[names.INDICES], row[names.SCORES], row[names.LABELS])
    return judge_listed(dense, *listed, labels, k, tolerance, bounds)


def _judge_classified_row(
    row: Outputs, dense: Scores, k: int, bounds: Scores | None, labels: Labels, tolerance: Tolerance
) -> Verdict:
    classes, scores = row[names.CLASSES], row[names.SCORES]
    try:
        indices = _indices_of_labels(classes, scores, labels, dense)
    except KeyError as error:
        return Verdict(f"{error.args[0].decode(errors='backslashreplace')!r} is not one of the labels")
    return judge_listed(dense, indices, scores, classes, labels, k, tolerance, bounds)


def _dense_of_listed(outputs: Outputs, labels: Labels) -> tuple[Scores, str]:
    indices, scores = outputs[names.INDICES], outputs[names.SCORES]
    if not np.array_equal(np.sort(indices, axis=1), np.tile(np.arange(len(labels)), (len(indices), 1))):
        return scores, f"with k = {len(labels)} it should list each of the {len(labels)} indices once"
    dense = np.empty_like(scores)
    np.put_along_axis(dense, indices.astype(np.intp), scores, axis=1)
    return dense, ""


def _dense_of_classified(outputs: Outputs, labels: Labels) -> tuple[Scores, str]:
    classes, scores = outputs[names.CLASSES], outputs[names.SCORES]
    try:
        rows = [_indices_of_labels(*row, labels, None) for row in zip(classes, scores, strict=True)]
    except KeyError as error:
        return scores, f"{error.args[0].decode(errors='backslashreplace')!r} is not one of the labels"
    indices = np.array(rows, np.int32).reshape(scores.shape)
    return _dense_of_listed({names.INDICES: indices, names.SCORES: scores}, labels)


def _indices_of_labels(classes: Labels, scores: Scores, labels: Labels, dense: Scores | None) -> NDArray[np.int32]:
    """Return the index of each class in a row. If a label occurs more than once, the index with the nearest score wins.

    Raises:
        KeyError: if a class is not one of the labels.
    """
    places, taken = _places(tuple(labels)), set[int]()
    indices = np.full(len(classes), names.NO_INDEX, np.int32)
    for place, (label, score) in enumerate(zip(classes.tolist(), scores.tolist(), strict=True)):
        if label == names.NO_LABEL.encode() and score == names.NO_SCORE:
            continue
        if free := [index for index in places[label] if index not in taken]:
            near = (
                free[0] if dense is None or len(free) == 1 else min(free, key=lambda at: abs(float(dense[at]) - score))
            )
            taken.add(near)
            indices[place] = near
    return indices


# Every answer in a check needs this, which takes 50 ms for 100,000 labels.
@lru_cache(maxsize=1)
def _places(labels: tuple[bytes, ...]) -> Mapping[bytes, Sequence[int]]:
    """Return the indices of each label."""
    places: dict[bytes, list[int]] = {}
    for index, label in enumerate(labels):
        places.setdefault(label, []).append(index)
    return places


SPARSE = AnswerForm(
    dtypes={names.PROBABILITIES: np.dtype(np.float32)},
    width=lambda labels, k: labels,
    judge=_judge_sparse_row,
    dense=lambda outputs, labels: (outputs[names.PROBABILITIES], ""),
)
LISTED = AnswerForm(
    dtypes={
        names.INDICES: np.dtype(np.int32),
        names.SCORES: np.dtype(np.float32),
        names.LABELS: np.dtype(object),
    },
    width=lambda labels, k: k,
    judge=_judge_listed_row,
    dense=_dense_of_listed,
)
# The form of the Classify API: the same without indices.
CLASSIFIED = AnswerForm(
    dtypes={names.CLASSES: np.dtype(object), names.SCORES: np.dtype(np.float32)},
    width=lambda labels, k: k,
    judge=_judge_classified_row,
    dense=_dense_of_classified,
    narrows=True,
)
# All scores, whatever the limits.
DENSE = AnswerForm(
    dtypes={names.DENSE_PROBABILITIES: np.dtype(np.float32)},
    width=lambda labels, k: labels,
    judge=_judge_dense_row,
    dense=lambda outputs, labels: (outputs[names.DENSE_PROBABILITIES], ""),
)

ANSWER_FORMS: tuple[AnswerForm, ...] = (SPARSE, LISTED, CLASSIFIED, DENSE)
