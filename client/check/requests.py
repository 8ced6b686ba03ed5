"""How samples are put to a signature, with every form of k, and what comes back in one shape."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import DecodeError
from client.rpc.calls import Answer, Call, predict_call
from client.rpc.examples import classify_examples
from client.rpc.metadata import Signature, Target
from client.samples.golden import Sample
from signatures.contract import names

Outputs = Mapping[str, NDArray[Any]]
Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Samples sent together: their numbers, their inputs joined along the first dimension, perhaps their files."""

    numbers: tuple[int, ...]
    inputs: Mapping[str, NDArray[Any]]
    files: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class K:
    """One k as it is sent (None leaves it out), and the k meant for each example, clamped."""

    name: str
    sent: NDArray[np.int32] | None
    meant: tuple[int, ...]


def batches(samples: Sequence[Sample], numbers: Sequence[int], size: int) -> Iterator[Batch]:
    """Return the samples of these numbers in batches of those whose inputs have the same names, shapes and dtypes."""
    alike: dict[Any, list[int]] = {}
    for number in numbers:
        inputs = samples[number].inputs
        kind = tuple((name, array.dtype, array.shape) for name, array in sorted(inputs.items()))
        alike.setdefault(kind, []).append(number)
    for like in alike.values():
        for start in range(0, len(like), size):
            chosen = tuple(like[start : start + size])
            joined = {
                name: np.concatenate([samples[number].inputs[name] for number in chosen])
                for name in samples[chosen[0]].inputs
            }
            files = [samples[number].file for number in chosen]
            yield Batch(chosen, joined, None if None in files else np.array(files, object))


def every_k(signature: Signature, default: int, classes: int, size: int) -> Iterator[K]:
    """Return the k to ask for: left out and, where the signature takes one, scalars, one element, one per example."""

    def within(*k: int) -> tuple[int, ...]:
        return tuple(min(max(value, 0), classes) for value in k)

    yield K("left out", None, within(default) * size)
    if names.K not in signature.inputs and signature.key != names.CLASSIFY:
        return
    mixed = [(row * 3 + 2) % (classes + 3) - 1 for row in range(size)]
    yield K(f"{mixed} (one per example)", np.array(mixed, np.int32), within(*mixed))
    if size == 1:
        return
    yield K(f"[{default}]", np.array([default], np.int32), within(default) * size)
    for k in sorted({0, 1, default, classes - 1, classes, -1, classes + 3}):
        yield K(str(k), np.array(k, np.int32), within(k) * size)


def ask(target: Target, signature: Signature, files: bool, batch: Batch, k: NDArray[np.int32] | None) -> Call[Any]:
    """Return the call that puts a batch to a signature, as picture files or not; `outputs_of` takes what it reads."""
    if signature.key == names.CLASSIFY:
        return classify_examples(target, signature.key, [_features(files, batch, k, row) for row in range(len(batch))])
    inputs: dict[str, Any] = {names.ENCODED_IMAGES: batch.files} if files else dict(batch.inputs)
    arrays = inputs if k is None else {**inputs, names.K: k}
    return predict_call(target, signature.key, arrays, dtypes=signature.rounded)


def outputs_of(answer: Any, labels: Sequence[str], dense: Scores | None = None) -> tuple[Outputs, int | None]:
    """Return the outputs of an answer, the Classify API's as those of top_k, and the version that gave it, if it says.

    dense: the dense scores, [B, N], which tell classes apart that are called the same. Raises DecodeError for classes
    that are none of the labels.
    """
    if isinstance(answer, Answer):
        return answer.outputs, answer.version
    width = max((len(classes) for classes in answer), default=0)
    if any(len(classes) != width for classes in answer):
        raise DecodeError(f"the examples are classified into {sorted({len(classes) for classes in answer})} classes")
    if unknown := {label for classes in answer for label, _ in classes} - {*labels, names.NO_LABEL}:
        raise DecodeError(f"{sorted(unknown)[0]!r} is none of the labels")
    rows = [None] * len(answer) if dense is None or len(dense) != len(answer) else list(dense)
    indices = [_places(classes, labels, row) for classes, row in zip(answer, rows, strict=True)]
    shape = (len(answer), width)
    listed = [item for classes in answer for item in classes]
    texts = np.empty(len(listed), object)
    texts[:] = [label.encode() for label, _ in listed]
    outputs = {
        names.INDICES: np.array(indices, np.int32).reshape(shape),
        names.SCORES: np.array([score for _, score in listed], np.float32).reshape(shape),
        names.LABELS: texts.reshape(shape),
    }
    return outputs, None


def dense_scores(outputs: Outputs, rows: int, classes: int) -> Scores | str:
    """Return the scores, [rows, classes], of an answer with k = N, or say what is wrong with it."""
    if names.INDICES not in outputs:
        return unlike(outputs, names.PROBABILITIES, np.float32, (rows, classes)) or outputs[names.PROBABILITIES]
    if problem := unlike_listed(outputs, (rows, classes)):
        return problem
    indices, scores = outputs[names.INDICES], outputs[names.SCORES]
    if not np.array_equal(np.sort(indices, axis=1), np.tile(np.arange(classes), (rows, 1))):
        return f"with k = {classes} it should list each of the {classes} indices once"
    dense = np.empty_like(scores)
    np.put_along_axis(dense, indices.astype(np.intp), scores, axis=1)
    return dense


def unlike_listed(outputs: Outputs, shape: tuple[int, int]) -> str:
    """Say how indices, scores and labels are not the arrays that were expected, or nothing."""
    dtypes: dict[str, type] = {names.INDICES: np.int32, names.SCORES: np.float32, names.LABELS: object}
    problems = (unlike(outputs, name, dtype, shape) for name, dtype in dtypes.items())
    return next((problem for problem in problems if problem), "")


def unlike(outputs: Outputs, name: str, dtype: Any, shape: tuple[int, ...]) -> str:
    """Say how an output is not the array that was expected, or nothing."""
    if name not in outputs:
        return f"the output {name} is missing"
    array = outputs[name]
    if array.dtype != dtype or array.shape != shape:
        return f"the output {name} is {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} {list(shape)}"
    return ""


def _places(classes: Sequence[tuple[str, float]], labels: Sequence[str], dense: Scores | None) -> list[int]:
    """Return the index that each class stands for: where labels repeat, the one whose score is nearest to its own."""
    free: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        free.setdefault(label, []).append(index)
    found = []
    for label, score in classes:
        candidates = free.get(label)
        if not candidates or (label == names.NO_LABEL and score == names.NO_SCORE):
            found.append(names.NO_INDEX)
            continue
        nearest = candidates[0] if dense is None else min(candidates, key=lambda at: abs(float(dense[at]) - score))
        candidates.remove(nearest)
        found.append(nearest)
    return found


def _features(files: bool, batch: Batch, k: NDArray[np.int32] | None, row: int) -> dict[str, Any]:
    if files and batch.files is not None:
        features: dict[str, Any] = {names.IMAGE_FEATURE: batch.files[row]}
    else:
        # A slice, as one row of an input of shape [B] is no array.
        features = {name: array[row : row + 1].reshape(-1) for name, array in batch.inputs.items()}
    if k is not None:
        features[names.K] = int(k.reshape(-1)[row % k.size])
    return features
