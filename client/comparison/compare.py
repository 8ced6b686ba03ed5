"""The comparison of two served versions."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from client.client import ServingClient
from client.comparison.answers import Answers, answers_of, changes_of, with_own_limits
from client.comparison.latency import latency_change
from client.comparison.quality import quality_changes
from client.comparison.results import Comparison, Limits
from client.comparison.rules import notes_on_samples, stopped_by_measurements, stopped_by_statements
from client.comparison.sides import Side, default_changes, interface_changes, label_changes
from client.errors import InputError
from client.rpc.calls import Call, predict_call
from client.rpc.inputs import limit_per_example
from client.rpc.metadata import Target
from client.samples.golden import Sample
from client.samples.rows import own_inputs
from client.samples.stacking import inputs_of, truth_of
from signatures.contract import names
from signatures.contract.bounds import bounds_of
from signatures.contract.quality import Tallies, predicted, tallies

# The number of samples sent in turn to measure the latency.
_TIMED = 64

# Reads the samples, fitted to a version.
SamplesOf = Callable[[Side], tuple[Sample, ...]]
# Returns the slices of samples, by name.
SlicesOf = Callable[[Sequence[Sample]], dict[str, list[int]]]


def compare(
    client: ServingClient,
    before: Side,
    after: Side,
    samples_of: SamplesOf,
    limits: Limits,
    slices_of: SlicesOf | None = None,
) -> Comparison:
    """Compare a candidate with the served version, on one server that has both.

    If labels or signatures changed in a way that is not allowed, nothing is measured.

    Args:
        client: a client of the server.
        before: the served version.
        after: the candidate.
        samples_of: reads the samples, fitted to a version.
        limits: what may change.
        slices_of: returns the slices of the samples, each of which is judged too.

    Raises:
        InputError: if a limit needs samples or labels that do not exist, or if samples do not fit a version.
        ServerError: if the server does not answer.
    """
    labels, breaking = label_changes(before, after), interface_changes(before, after)
    found = Comparison(
        passed=True,
        address=client.address,
        model=client.model,
        before=before.version,
        after=after.version,
        labels=labels,
        breaking=breaking,
        notes=default_changes(before, after),
    )
    stopped = stopped_by_statements(before, after, found, limits)
    if not stopped:
        found = _measured(client, before, after, samples_of, limits, slices_of, found)
        stopped = stopped_by_measurements(found)
    return replace(found, passed=not stopped, stopped=stopped)


def _measured(
    client: ServingClient,
    before: Side,
    after: Side,
    samples_of: SamplesOf,
    limits: Limits,
    slices_of: SlicesOf | None,
    found: Comparison,
) -> Comparison:
    """Return the comparison, extended by what the answers to samples show."""
    old, new = _samples(before, after, samples_of)
    if not old:
        if limits.needs_samples:
            raise InputError("a limit on quality or latency needs samples, and there are none that fit: pass --samples")
        return replace(
            found, notes=(*found.notes, "No samples were sent: the golden records may not fit both versions.")
        )
    key = _key(before, after, old, new)
    labels = _labels(before, after)
    answers = (
        answers_of(client, before, key, old, len(labels[0])),
        answers_of(client, after, key, new, len(labels[1])),
    )
    changes, changed = changes_of(*answers, labels, old)
    latency = latency_change(client, _calls(before, key, old), _calls(after, key, new), limits.latency_ratio)
    found = replace(found, answers=changes, changed=changed, latency=latency)
    known = [number for number, sample in enumerate(old) if sample.truth is not None]
    if not known:
        if limits.needs_labels:
            raise InputError("the samples have no true labels, which a limit on exact match or F1 needs: give others")
        return found
    before_counts, after_counts = _tallies((before, after), answers, labels, old, known)
    place = {number: row for row, number in enumerate(known)}
    found_slices = {} if slices_of is None else slices_of(old)
    slices = {name: [place[n] for n in chosen if n in place] for name, chosen in found_slices.items()}
    if empty := sorted(name for name, chosen in slices.items() if not chosen):
        raise InputError(f"the slice {empty[0]!r} has no sample with true labels")
    quality = tuple(quality_changes(before_counts, after_counts, slices, limits))
    return replace(found, quality=quality, notes=(*found.notes, *notes_on_samples(len(known), limits)))


def _samples(before: Side, after: Side, samples_of: SamplesOf) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the samples for both versions: the same ones, unless the versions take different inputs."""
    old = samples_of(before)
    same = _inputs(before) == _inputs(after)
    new = old if same else samples_of(after)
    if len(old) != len(new):
        raise InputError(f"version {before.version} has {len(old)} samples and version {after.version} has {len(new)}")
    return with_own_limits(old, before), with_own_limits(new, after)


def _inputs(side: Side) -> object:
    """Return what must be equal for two versions to take the same samples."""
    signature = side.signature(names.SERVING_DEFAULT)
    inputs = {} if signature is None else own_inputs(signature)
    shapes = {name: (info.dtype, info.shape) for name, info in inputs.items()}
    return shapes, None if side.info is None else side.info.preprocessing


def _key(before: Side, after: Side, old: Sequence[Sample], new: Sequence[Sample]) -> str:
    """Return the signature to call: image files are sent as files, as callers send them."""
    files = all(sample.file is not None for sample in (*old, *new))
    keys = [names.ENCODED_IMAGES, names.SERVING_DEFAULT] if files else [names.SERVING_DEFAULT]
    for key in keys:
        if before.signature(key) is not None and after.signature(key) is not None:
            return key
    raise InputError(f"the versions share no signature {' or '.join(keys)} that answers with {names.PROBABILITIES}")


def _labels(before: Side, after: Side) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the labels of both versions. One that does not report its labels is assumed to have the other's."""
    known = [side.info.labels for side in (before, after) if side.info is not None]
    if not known:
        raise InputError("neither version reports its labels, so their answers cannot be compared")
    return known[0], known[-1]


def _tallies(
    sides: tuple[Side, Side],
    answers: tuple[Answers, Answers],
    labels: tuple[tuple[str, ...], tuple[str, ...]],
    samples: Sequence[Sample],
    known: Sequence[int],
) -> tuple[Tallies, Tallies]:
    """Count what each version gets right, over the labels of both."""
    old, new = labels
    every, places = old, (list(range(len(old))), list(range(len(new))))
    if old != new:
        every = (*old, *(label for label in new if label not in old))
        places = ([every.index(label) for label in old], [every.index(label) for label in new])
    truth, _ = truth_of([samples[number] for number in known], every)

    def counted(side: Side, each: Answers, columns: Sequence[int]) -> Tallies:
        marked = np.zeros(truth.shape, bool)
        info = side.info
        bounds = None if info is None else bounds_of(info.min_score, info.thresholds, len(columns))
        marked[:, columns] = predicted(each.served[known], bounds)
        return tallies(marked, truth)

    return counted(sides[0], answers[0], places[0]), counted(sides[1], answers[1], places[1])


def _calls(side: Side, key: str, samples: Sequence[Sample]) -> list[Call[Any]]:
    """Return calls of one sample each, with limits for each example: every server takes this form."""
    signature, target = side.metadata.signature(key), Target(side.metadata.model, side.version)
    defaults = {} if side.info is None else {names.K: side.info.k, names.MIN_SCORE: side.info.min_score}
    calls: list[Call[Any]] = []
    for sample in samples[:_TIMED]:
        inputs = inputs_of([sample], signature)
        for name, default in defaults.items():
            if name in signature.limits and name not in inputs:
                inputs[name] = limit_per_example(name, default, 1)
        calls.append(predict_call(target, key, inputs, dtypes=signature.rounded))
    return calls
