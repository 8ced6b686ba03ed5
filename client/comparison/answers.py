"""The answers of both versions to the same samples, and how they differ."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.check.requests import batches
from client.client import ServingClient
from client.comparison.results import AnswerChanges, ChangedSample
from client.comparison.sides import Side
from client.errors import DecodeError, ServerError, UnreachableError
from client.samples.golden import Sample
from client.samples.stacking import inputs_of
from signatures.contract import names

# Small enough for any server.
_BATCH = 8


@dataclass(frozen=True)
class Answers:
    """A version's answers to S samples, [S, N]: `served` with the samples' or the export's limits, `dense` without."""

    served: NDArray[np.float32]
    dense: NDArray[np.float32]


def with_own_limits(samples: Sequence[Sample], side: Side) -> tuple[Sample, ...]:
    """Return the samples, each with a k and a min_score if any of them has one: a request needs it for all or none."""
    found = tuple(samples)
    if side.info is not None and any(sample.k is not None for sample in found):
        k = side.info.k
        found = tuple(replace(sample, k=k if sample.k is None else sample.k) for sample in found)
    if side.info is not None and any(sample.min_score is not None for sample in found):
        least = side.info.min_score
        found = tuple(
            replace(sample, min_score=least if sample.min_score is None else sample.min_score) for sample in found
        )
    return found


def answers_of(client: ServingClient, side: Side, key: str, samples: Sequence[Sample], labels: int) -> Answers:
    """Send all samples, fitted to this version, to a signature that answers with the scores of N `labels`.

    Raises:
        ServerError: if the server refuses a request.
        DecodeError: if an answer is not [B, N] scores.
    """
    served, dense = (np.zeros((len(samples), labels), np.float32) for _ in range(2))
    for batch in batches(samples, range(len(samples)), _BATCH):
        rows = list(batch.numbers)
        served[rows], dense[rows] = _served_and_dense(client, side, key, [samples[row] for row in rows], labels)
    return Answers(served, dense)


def changes_of(
    before: Answers, after: Answers, labels: tuple[Sequence[str], Sequence[str]], samples: Sequence[Sample]
) -> tuple[AnswerChanges, tuple[ChangedSample, ...]]:
    """Return how the answers of two versions differ, and for which samples other labels are kept."""
    kept = [
        [tuple(names_[index] for index in np.flatnonzero(row).tolist()) for row in answers.served]
        for answers, names_ in zip((before, after), labels, strict=True)
    ]
    changed = tuple(
        ChangedSample(sample=sample, before=old, after=new)
        for sample, old, new in zip(samples, *kept, strict=True)
        if sorted(old) != sorted(new)
    )
    shared = _shared(*labels)
    difference = np.abs(before.dense[:, shared[0]].astype(np.float64) - after.dense[:, shared[1]])
    found = AnswerChanges(
        samples=len(samples),
        changed_sets=len(changed) / len(samples),
        largest_difference=float(difference.max(initial=0)),
        mean_difference=float(difference.mean()) if difference.size else 0.0,
    )
    return found, changed


def _served_and_dense(
    client: ServingClient, side: Side, key: str, samples: Sequence[Sample], labels: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return both answers to samples, sent in one request, or one by one if the server refuses that."""
    signature = side.metadata.signature(key)
    inputs = inputs_of(samples, signature)
    own = {name: array for name, array in inputs.items() if name not in signature.limits}
    nothing = 0.0 if names.MIN_SCORE in signature.inputs else None
    every = side.dense_key(key)
    try:
        served = client.predict(inputs, signature=key, version=side.version)
        if every is None:
            dense = client.predict(own, labels, key, min_score=nothing, version=side.version)
        else:
            dense = client.predict(own, signature=every, version=side.version)
    except UnreachableError:
        raise
    except ServerError:
        if len(samples) == 1:
            raise
        each = [_served_and_dense(client, side, key, [sample], labels) for sample in samples]
        return np.concatenate([one for one, _ in each]), np.concatenate([one for _, one in each])
    shape = (len(samples), labels)
    output = names.PROBABILITIES if every is None else names.DENSE_PROBABILITIES
    return _probabilities(served, names.PROBABILITIES, shape), _probabilities(dense, output, shape)


def _probabilities(outputs: Mapping[str, NDArray[Any]], output: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    scores = outputs.get(output)
    if scores is None or scores.shape != shape:
        found = "none" if scores is None else f"{output} {list(scores.shape)}"
        raise DecodeError(f"the versions cannot be compared: expected {output} {list(shape)}, received {found}")
    return scores


def _shared(old: Sequence[str], new: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the indices, in both versions, of the labels that both have."""
    if list(old) == list(new):
        return list(range(len(old))), list(range(len(new)))
    places = {label: place for place, label in reversed(list(enumerate(new)))}
    both = [(place, places[label]) for place, label in enumerate(old) if label in places]
    return [place for place, _ in both], [place for _, place in both]
