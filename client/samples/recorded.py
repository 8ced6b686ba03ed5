"""Samples of recorded requests: recorded traffic, and the warm-up requests of a version."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from client.errors import DecodeError, InputError
from client.recording.logs import RecordedRequest
from client.rpc.calls import CLASSIFY
from client.rpc.codec import decode_tensor
from client.samples.examples import example_sample
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from signatures.contract import names


def request_samples(recorded: RecordedRequest, source: str, served: Served) -> Iterator[Sample]:
    """Yield a sample for each example of a request, with the `k` and `min_score` that it asked for.

    A request for the model's identity, `export_info`, has no examples.

    Raises:
        InputError: when the request does not fit the model; the message names the source and the input.
    """
    message = recorded.message()
    if recorded.method == CLASSIFY:
        if message.input.WhichOneof("kind") == "example_list_with_context":
            raise InputError(f"{source} has a context that its examples share, which cannot be read")
        for example in message.input.example_list.examples:
            yield example_sample(example, source, served)
    elif message.model_spec.signature_name != names.EXPORT_INFO:
        try:
            arrays = {name: decode_tensor(proto) for name, proto in sorted(message.inputs.items())}
        except DecodeError as error:
            raise InputError(f"{source}: {error}") from error
        yield from _predict_samples(arrays, source, served)


def _predict_samples(arrays: dict[str, NDArray[Any]], source: str, served: Served) -> Iterator[Sample]:
    asked = {name: arrays.pop(name) for name in names.LIMITS if name in arrays}
    count = _examples(arrays, source)
    for name, array in asked.items():
        if array.size not in (1, count):
            raise InputError(f"{source}: {name} is of shape {list(array.shape)}, for {count} examples")
    for number in range(count):
        values = {name: array[number] for name, array in arrays.items()}
        k, min_score = (_asked(asked.get(name), number) for name in names.LIMITS)
        sample = sample_of(served, values, source if count == 1 else f"{source}, example {number}")
        yield replace(
            sample, k=None if k is None else int(k), min_score=None if min_score is None else float(min_score)
        )


def _examples(arrays: dict[str, NDArray[Any]], source: str) -> int:
    """Return how many examples the inputs hold, which is their length."""
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    count = next(iter(lengths.values()), 0)
    for name, length in lengths.items():
        if length != count:
            raise InputError(f"{source}: input {name} holds {length} examples, others {count}")
    return count


def _asked(array: NDArray[Any] | None, number: int) -> Any:
    return None if array is None else array.reshape(-1)[number % array.size]
