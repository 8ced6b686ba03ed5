"""The requests that `serving-client bench` sends."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from click.core import ParameterSource

from client.bench.baseline import AS_RECORDED, Subject
from client.bench.requests import BenchRequest, holds_requests, recorded_load, sample_requests, within_memory
from client.cli.samples import made_up_for, samples_for
from client.client import ServingClient
from client.errors import ServerError
from client.rpc.metadata import Target
from client.rpc.sequences import BATCHING_REFUSAL
from client.samples.made_up import Bound
from client.samples.read import IMAGE_SUFFIXES
from signatures.contract import names


def subject_of(
    paths: Sequence[Path], signature: str, ks: Sequence[int], batch: int, min_score: float | None
) -> Subject:
    """Return what a run sends, according to the command line and the files alone."""
    given = click.get_current_context().get_parameter_source
    chosen = [name for name in ("signature", "ks", "min_score", "batch") if given(name) == ParameterSource.COMMANDLINE]
    if not chosen and holds_requests(paths):
        return AS_RECORDED
    images = paths and all(path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    kind = "pictures" if images else "samples" if paths else "random"
    return Subject(signature=signature, k=tuple(sorted(ks)), inputs=kind, batch=batch, min_score=min_score)


def requests_of(
    client: ServingClient, subject: Subject, paths: Sequence[Path], bounds: dict[str, Bound]
) -> list[BenchRequest]:
    """Return the requests to send, after the server has answered the first one."""
    target = Target(client.model)
    if subject == AS_RECORDED:
        return _answered(client, recorded_load(paths, target))
    metadata = client.metadata()
    signature = metadata.signature(subject.signature)
    if paths:
        samples = samples_for(client, target, paths, signature.key)
    else:
        samples = made_up_for(client, metadata, subject.batch, bounds, signature.key)
    batch, min_score = subject.batch, subject.min_score
    try:
        return _answered(client, sample_requests(target, signature, samples, subject.k, batch, min_score))
    except ServerError as error:
        sent = {names.K: bool(subject.k), names.MIN_SCORE: min_score is not None}
        if all(sent[name] for name in signature.limits) or BATCHING_REFUSAL not in str(error):
            raise
    # A server that batches refuses requests without limits.
    served = client.info()
    if min_score is None and names.MIN_SCORE in signature.limits:
        min_score = served.min_score
    return _answered(client, sample_requests(target, signature, samples, subject.k or [served.k], batch, min_score))


def _answered(client: ServingClient, requests: Iterable[BenchRequest]) -> list[BenchRequest]:
    """Send the first request, and return all that fit into memory. Without an answer, there is nothing to measure."""
    found, complete = within_memory(requests)
    client.transport.send(found[0].method, found[0].content, client.timeout)
    if not complete:
        print(f"The first {len(found)} requests are sent in turn: all would take too much memory.", file=sys.stderr)
    return found
