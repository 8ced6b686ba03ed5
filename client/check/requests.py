"""How a sample is put to each signature: the forms of input and of k, and what comes back in one shape."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import DecodeError
from client.rpc.calls import Answer, Call, predict_call
from client.rpc.examples import classify_examples
from client.rpc.metadata import Metadata, Signature, Target
from client.samples.golden import Sample
from signatures.contract import names

Outputs = Mapping[str, NDArray[Any]]

_CLASSIFY_METHOD = "tensorflow/serving/classify"
_DENSE = {names.PROBABILITIES}
_OURS = {names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K}
_LISTED = {names.INDICES, names.SCORES, names.LABELS}


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


@dataclass(frozen=True)
class Form:
    """One way to send samples: the signature that gives their dense scores, and all that take them so."""

    files: bool
    dense: Signature
    signatures: tuple[Signature, ...]


def batches(samples: Sequence[Sample], size: int) -> Iterator[Batch]:
    """Return the samples in batches of those whose inputs have the same names, shapes and dtypes."""
    alike: dict[Any, list[int]] = {}
    for number, sample in enumerate(samples):
        kind = tuple((name, array.dtype, array.shape) for name, array in sorted(sample.inputs.items()))
        alike.setdefault(kind, []).append(number)
    for numbers in alike.values():
        for start in range(0, len(numbers), size):
            chosen = tuple(numbers[start : start + size])
            inputs = {
                name: np.concatenate([samples[number].inputs[name] for number in chosen])
                for name in samples[chosen[0]].inputs
            }
            files = [samples[number].file for number in chosen]
            yield Batch(chosen, inputs, None if None in files else np.array(files, object))


def forms(metadata: Metadata, samples: Sequence[Sample], labels: Sequence[str]) -> list[Form]:
    """Return the ways in which these samples can be sent to a model."""
    own = set(samples[0].inputs) if samples else set()
    have_files = bool(samples) and all(sample.file is not None for sample in samples)
    # The Classify API names labels, not indices, and its answers cannot be told apart where two labels are the same.
    classified = names.CLASSIFY if len(set(labels)) == len(labels) else None
    takes_files = names.ENCODED_IMAGES in metadata.signatures
    found = []
    for files, dense, wanted in (
        (False, names.SERVING_DEFAULT, own),
        (True, names.ENCODED_IMAGES, {names.ENCODED_IMAGES}),
    ):
        if dense not in metadata.signatures or (files and not have_files):
            continue
        signatures = tuple(
            signature
            for signature in metadata.signatures.values()
            if (
                _own_inputs(signature) == wanted
                and (signature.key in _OURS or set(signature.outputs) in (_DENSE, _LISTED))
            )
            or (signature.key == classified and takes_files == files and signature.method == _CLASSIFY_METHOD)
        )
        found.append(Form(files, metadata.signatures[dense], signatures))
    return found


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


def ask(target: Target, form: Form, signature: Signature, batch: Batch, k: NDArray[np.int32] | None) -> Call[Any]:
    """Return the call that puts a batch to a signature; `read_answer` takes what it reads."""
    if signature.key == names.CLASSIFY:
        return classify_examples(target, signature.key, [_features(form, batch, k, row) for row in range(len(batch))])
    inputs: dict[str, Any] = {names.ENCODED_IMAGES: batch.files} if form.files else dict(batch.inputs)
    return predict_call(target, signature.key, inputs if k is None else {**inputs, names.K: k})


def outputs_of(answer: Any, labels: Sequence[str]) -> tuple[Outputs, int | None]:
    """Return the outputs of an answer, the Classify API's as those of top_k, and the version that gave it, if it says.

    Raises DecodeError for classes that are not among the labels.
    """
    if isinstance(answer, Answer):
        return answer.outputs, answer.version
    width = max((len(classes) for classes in answer), default=0)
    if any(len(classes) != width for classes in answer):
        raise DecodeError(f"the examples are classified into {sorted({len(classes) for classes in answer})} classes")
    place = {label: index for index, label in enumerate(labels)} | {names.NO_LABEL: names.NO_INDEX}
    if unknown := {label for classes in answer for label, _ in classes} - place.keys():
        raise DecodeError(f"{sorted(unknown)[0]!r} is not one of the labels")
    shape = (len(answer), width)
    listed = [item for classes in answer for item in classes]
    texts = np.empty(len(listed), object)
    texts[:] = [label.encode() for label, _ in listed]
    outputs = {
        names.INDICES: np.array([place[label] for label, _ in listed], np.int32).reshape(shape),
        names.SCORES: np.array([score for _, score in listed], np.float32).reshape(shape),
        names.LABELS: texts.reshape(shape),
    }
    return outputs, None


def _own_inputs(signature: Signature) -> set[str]:
    return set(signature.inputs) - {names.K}


def _features(form: Form, batch: Batch, k: NDArray[np.int32] | None, row: int) -> dict[str, Any]:
    if form.files and batch.files is not None:
        features: dict[str, Any] = {names.IMAGE_FEATURE: batch.files[row]}
    else:
        features = {name: array[row].reshape(-1) for name, array in batch.inputs.items()}
    if k is not None:
        features[names.K] = int(k.reshape(-1)[row % k.size])
    return features
