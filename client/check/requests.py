"""Send samples to a signature, and read the outputs that come back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import DecodeError
from client.rpc.calls import Answer, Call, classify_call, predict_call
from client.rpc.metadata import Signature, Target
from client.samples.golden import Sample
from signatures.contract import names
from signatures.contract.answers import Outputs, encoded


@dataclass(frozen=True)
class Batch:
    """Samples sent together: their numbers, their inputs, joined along the first dimension, and perhaps their files."""

    numbers: tuple[int, ...]
    inputs: Mapping[str, NDArray[Any]]
    files: NDArray[Any] | None

    def __len__(self) -> int:
        return len(self.numbers)


def batches(samples: Sequence[Sample], numbers: Sequence[int], size: int) -> Iterator[Batch]:
    """Yield the samples with these numbers, in batches whose inputs have the same names, shapes and dtypes."""
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


def ask(
    target: Target, signature: Signature, files: bool, batch: Batch, limits: Mapping[str, NDArray[Any]]
) -> Call[Any]:
    """Return the call that sends a batch and limits to a signature, as image files or not.

    Pass its answer to `outputs_of`.
    """
    if signature.key == names.CLASSIFY:
        examples = [example_features(files, batch, limits, row) for row in range(len(batch))]
        return classify_call(target, signature.key, examples)
    inputs: dict[str, Any] = {names.ENCODED_IMAGES: batch.files} if files else dict(batch.inputs)
    return predict_call(target, signature.key, {**inputs, **limits}, dtypes=signature.rounded)


def unlimited(takes: Collection[str], rows: int, classes: int) -> dict[str, NDArray[Any]]:
    """Return limits that let all scores through, one per example: every server takes this form."""
    limits = {names.K: np.full(rows, classes, np.int32), names.MIN_SCORE: np.zeros(rows, np.float32)}
    return {name: limit for name, limit in limits.items() if name in takes}


def outputs_of(answer: Any) -> tuple[Outputs, int | None]:
    """Return the outputs of an answer by name, and the version that answered if the answer names it.

    Raises:
        DecodeError: if the Classify API answers examples with different numbers of classes.
    """
    if isinstance(answer, Answer):
        return answer.outputs, answer.version
    width = max((len(classes) for classes in answer), default=0)
    if any(len(classes) != width for classes in answer):
        raise DecodeError(f"the examples are classified into {sorted({len(classes) for classes in answer})} classes")
    shape, listed = (len(answer), width), [item for classes in answer for item in classes]
    scores = np.array([score for _, score in listed], np.float32)
    return {
        names.CLASSES: encoded([label for label, _ in listed]).reshape(shape),
        names.SCORES: scores.reshape(shape),
    }, None


def example_features(files: bool, batch: Batch, limits: Mapping[str, NDArray[Any]], row: int) -> dict[str, Any]:
    """Return the features of one example of a batch, as the Classify API takes them."""
    if files and batch.files is not None:
        features: dict[str, Any] = {names.IMAGE_FEATURE: batch.files[row]}
    else:
        # A slice, because one row of an input of shape [B] is not an array.
        features = {name: array[row : row + 1].reshape(-1) for name, array in batch.inputs.items()}
    return features | {name: values.reshape(-1)[row % values.size].item() for name, values in limits.items()}
