"""The requests of a load: made from samples or made-up inputs, or recorded requests, unchanged."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.check.requests import Batch, ask, batches
from client.errors import InputError
from client.recording.logs import RecordedRequest, recorded_requests
from client.rpc.calls import CLASSIFY
from client.rpc.inputs import limit_per_example, require_limit
from client.rpc.metadata import Signature, Target
from client.samples.golden import Sample
from client.samples.rows import own_inputs
from client.samples.stacking import limits_of
from signatures.contract import names

# All requests are serialized before the first is sent. They may take this many bytes of memory.
MOST_BYTES = 2**28


@dataclass(frozen=True)
class BenchRequest:
    """A serialized request, with its gRPC method and the number of its examples."""

    method: str
    content: bytes
    examples: int


def sample_requests(
    target: Target,
    signature: Signature,
    samples: Sequence[Sample],
    ks: Sequence[int],
    batch: int,
    min_score: float | None = None,
) -> Iterator[BenchRequest]:
    """Yield requests of `batch` samples each, for each k in turn.

    Samples of different shapes never share a request. The first samples of a shape fill up its last request. Without
    `ks` or `min_score`, those of the samples themselves are sent, if they have any.
    """
    for name, values in ((names.K, ks), (names.MIN_SCORE, [] if min_score is None else [min_score])):
        if values and signature.key != names.CLASSIFY:
            require_limit(signature, name)
    turn = 0
    for chosen in full_batches(samples, batch):
        (joined,) = batches(samples, chosen, batch)
        files = joined.files is not None and (
            signature.key == names.CLASSIFY or set(own_inputs(signature)) == {names.ENCODED_IMAGES}
        )
        if not files and set(own_inputs(signature)) == {names.ENCODED_IMAGES}:
            raise InputError(f"signature {signature.key} takes JPEG and PNG files only")
        # Send every request once, and every k at least once.
        for _ in range(1 if turn else max(1, len(ks))):
            limits = limits_of([samples[number] for number in chosen], signature)
            if ks:
                limits[names.K] = np.full(batch, ks[turn % len(ks)])
            if min_score is not None:
                limits[names.MIN_SCORE] = np.full(batch, min_score)
            yield _request(target, signature, files, joined, limits)
            turn += 1


def holds_requests(paths: Sequence[Path]) -> bool:
    """Return whether all files hold recorded requests. Golden records are samples instead."""
    return bool(paths) and all(_holds_requests(path) for path in paths)


def recorded_load(paths: Sequence[Path], target: Target) -> Iterator[BenchRequest]:
    """Yield the requests of recorded traffic, unchanged but addressed to this model."""
    for path in paths:
        for request in recorded_requests(path):
            yield _as_recorded(request, target)


def within_memory(requests: Iterable[BenchRequest]) -> tuple[list[BenchRequest], bool]:
    """Return the requests that fit into MOST_BYTES, at least one, and whether these are all."""
    found: list[BenchRequest] = []
    left = MOST_BYTES
    for request in requests:
        left -= len(request.content)
        if found and left < 0:
            return found, False
        found.append(request)
    return found, True


def full_batches(samples: Sequence[Sample], size: int) -> Iterator[list[int]]:
    """Yield the numbers of samples of the same shapes, `size` at a time; the first ones fill up the last batch."""
    alike: dict[Any, list[int]] = {}
    for number, sample in enumerate(samples):
        shapes = tuple((name, array.shape) for name, array in sorted(sample.inputs.items()))
        alike.setdefault(shapes, []).append(number)
    for group in alike.values():
        for start in range(0, len(group), size):
            yield [group[number % len(group)] for number in range(start, start + size)]


def _request(
    target: Target, signature: Signature, files: bool, batch: Batch, limits: Mapping[str, NDArray[Any]]
) -> BenchRequest:
    each = {name: limit_per_example(name, value, len(batch)) for name, value in limits.items()}
    call = ask(target, signature, files, batch, each)
    return BenchRequest(call.method, call.request, len(batch))


def _holds_requests(path: Path) -> bool:
    if path.name == names.GOLDEN_FILE or not path.is_file():
        return False
    try:
        return next(recorded_requests(path), None) is not None
    except InputError:
        return False


def _as_recorded(recorded: RecordedRequest, target: Target) -> BenchRequest:
    message = recorded.message()
    if recorded.method == CLASSIFY:
        examples = len(message.input.example_list.examples)
    else:
        own = (tensor for name, tensor in message.inputs.items() if name not in names.LIMITS)
        examples = next((tensor.tensor_shape.dim[0].size for tensor in own if tensor.tensor_shape.dim), 1)
    return BenchRequest(recorded.method, recorded.addressed(target).request, examples)
