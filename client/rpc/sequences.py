"""Methods that make several calls, written once for the blocking and the asyncio client.

Each function is a generator that yields Calls and Pauses. The result of each Call is sent into it, and a ClientError is
thrown into it.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc
import numpy as np
from numpy.typing import ArrayLike, NDArray

from client.errors import InputError, ServerError, UnreachableError
from client.rpc.calls import Answer, Call, identity_call, metadata_call, predict_call, status_call
from client.rpc.codec import as_array
from client.rpc.inputs import arrange_inputs, length, limit_per_example, trim_top_k
from client.rpc.metadata import ExportInfo, Metadata, Signature, Target, TensorInfo, VersionStatus
from signatures.contract import names


@dataclass(frozen=True)
class Pause:
    """Wait for this many seconds."""

    seconds: float


T = TypeVar("T")
CallSequence = Generator[Call[Any] | Pause, Any, T]

# How a server started with --enable_batching refuses a k or min_score that is left out, a scalar, or one element for
# several examples.
BATCHING_REFUSAL = "Batching Run() input tensors must have"


@dataclass
class ServerCache:
    """What a client has learned: the metadata by target, and whether the server requires limits for each example."""

    metadata: dict[Target, Metadata] = field(default_factory=dict)
    batching: bool = False


def one(call: Call[T]) -> CallSequence[T]:
    """Make a single call."""
    answer: T = yield call
    return answer


def predict(
    cache: ServerCache,
    target: Target,
    inputs: Mapping[str, ArrayLike] | ArrayLike,
    k: ArrayLike | None,
    min_score: ArrayLike | None,
    signature: str,
    outputs: Sequence[str],
    validate: bool,
) -> CallSequence[dict[str, NDArray[Any]]]:
    """Call a signature. Compare the inputs with its declaration first, unless `validate` is off."""
    if not validate:
        answer: Answer = yield predict_call(target, signature, _unchecked(inputs, k, min_score), outputs)
        return trim_top_k(answer.outputs, k)
    known = target in cache.metadata
    limits = {names.K: k, names.MIN_SCORE: min_score} | (dict(inputs) if isinstance(inputs, Mapping) else {})
    left_out = [name for name in names.LIMITS if limits[name] is None]
    metadata = yield from _described(cache, target, signature, left_out)
    try:
        prepared = arrange_inputs(metadata.signature(signature), inputs, k, min_score)
    except InputError:
        if not known:
            raise
        # A newer version may take what the known one did not.
        cache.metadata.pop(target, None)
        return (yield from predict(cache, target, inputs, k, min_score, signature, outputs, validate))
    declared = metadata.signature(signature)
    if outputs and (unknown := sorted(set(outputs) - set(declared.outputs))):
        raise InputError(f"signature {signature} has no output {unknown[0]!r}, only {', '.join(declared.outputs)}")
    answer = yield from _call_prepared(cache, target, declared, prepared, outputs)
    if answer.version != metadata.version:
        cache.metadata.pop(target, None)
    if names.INDICES not in answer.outputs:
        return answer.outputs
    return trim_top_k(answer.outputs, prepared.get(names.K, declared.default_k))


def info(target: Target) -> CallSequence[ExportInfo]:
    """Ask the served model for its identity."""
    answer: Answer = yield identity_call(target)
    return ExportInfo.from_outputs(answer.outputs)


def wait_until_ready(target: Target, deadline: float, pause: float = 0.2) -> CallSequence[None]:
    """Poll the status until the requested version is AVAILABLE; raise UnreachableError at the monotonic `deadline`."""
    not_yet = [grpc.StatusCode.NOT_FOUND]
    if target.label is not None:
        not_yet.append(grpc.StatusCode.INVALID_ARGUMENT)
    seen = "no answer"
    while True:
        try:
            statuses: tuple[VersionStatus, ...] = yield replace(status_call(target), deadline=deadline)
            if any(status.state == "AVAILABLE" for status in statuses):
                if target.label is not None:
                    # Servers ignore the label in a status, but refuse the metadata of a label that is not there yet.
                    yield replace(metadata_call(target), deadline=deadline)
                return
            seen = ", ".join(
                f"version {status.version} is {status.state} {status.error}".strip() for status in statuses
            )
        except ServerError as error:
            if not isinstance(error, UnreachableError) and error.code not in not_yet:
                raise
            # If our own deadline cut a call short, the previous answer says more.
            seen = seen if error.code == grpc.StatusCode.DEADLINE_EXCEEDED else str(error)
        if time.monotonic() + pause >= deadline:
            raise UnreachableError(f"{target} was not ready in time: {seen}", grpc.StatusCode.DEADLINE_EXCEEDED)
        yield Pause(pause)


def _described(cache: ServerCache, target: Target, key: str, left_out: Sequence[str]) -> CallSequence[Metadata]:
    """Return the metadata of a target; defaults that are needed but missing come from `export_info`."""
    metadata: Metadata = cache.metadata.get(target) or (yield metadata_call(target))
    limits = metadata.signature(key).limits
    unknown = any(name in limits and limits[name].default is None for name in left_out)
    if unknown and names.EXPORT_INFO in metadata.signatures:
        served = yield from info(target)
        metadata = metadata.with_defaults(served.k, served.min_score)
    cache.metadata[target] = metadata
    return metadata


def _call_prepared(
    cache: ServerCache, target: Target, signature: Signature, inputs: dict[str, NDArray[Any]], outputs: Sequence[str]
) -> CallSequence[Answer]:
    dtypes = signature.rounded
    left_out = {name: info for name, info in signature.limits.items() if name not in inputs}
    fillable = {name: info for name, info in left_out.items() if info.default is not None}
    if cache.batching and fillable:
        inputs = _with_defaults(fillable, inputs)
    try:
        answer: Answer = yield predict_call(target, signature.key, inputs, outputs, dtypes)
    except ServerError as error:
        if cache.batching or not fillable or BATCHING_REFUSAL not in str(error):
            raise
        answer = yield predict_call(target, signature.key, _with_defaults(fillable, inputs), outputs, dtypes)
        cache.batching = True
    return answer


def _with_defaults(fillable: Mapping[str, TensorInfo], inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    batch = length(inputs)
    defaults = ((name, info.default) for name, info in fillable.items())
    return inputs | {name: np.full(batch, default, default.dtype) for name, default in defaults if default is not None}


def _unchecked(
    inputs: Mapping[str, ArrayLike] | ArrayLike, k: ArrayLike | None, min_score: ArrayLike | None
) -> dict[str, NDArray[Any]]:
    if not isinstance(inputs, Mapping):
        raise InputError("without validation, pass inputs by name, as in {'images': array}")
    arrays = {name: as_array(value) for name, value in inputs.items()}
    batch = length(arrays)
    limits = ((names.K, k), (names.MIN_SCORE, min_score))
    return arrays | {name: limit_per_example(name, value, batch) for name, value in limits if value is not None}
