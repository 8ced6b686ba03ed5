"""`serving-client bench`."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from client.bench.baseline import AS_RECORDED, Subject, compare_results, read_baseline, require_comparable
from client.bench.load import NO_RETRY, BenchResult, Load, measure
from client.bench.requests import BenchRequest, holds_requests, recorded_load, sample_requests, within_memory
from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import as_json_option, show_or_print, utf8
from client.cli.samples import golden_path, made_up_for, sample_arguments, samples_for
from client.client import ServingClient
from client.errors import ServerError
from client.rpc.metadata import Target
from client.rpc.sequences import BATCHING_REFUSAL
from client.samples.made_up import Bound
from client.samples.read import IMAGE_SUFFIXES
from signatures.contract import names


def _numbers(
    kind: Callable[[str], Any], least: float
) -> Callable[[click.Context, click.Parameter, str | None], list[Any]]:
    """Return what reads an option of several numbers, separated by commas."""

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> list[Any]:
        try:
            found = [kind(text) for text in (value or "").split(",") if value]
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a list of numbers, as in 1,4,16") from error
        if any(not number >= least for number in found):
            raise click.BadParameter(f"{value!r} holds a number below {least:g}")
        return found

    return read


@click.command(cls=ConnectedCommand)
@sample_arguments
@click.option("--random", "random", is_flag=True, help="Make up the inputs, as where no samples are given.")
@click.option(
    "--signature", callback=utf8, default=names.SERVING_DEFAULT, show_default=True, help="The signature to ask."
)
@click.option("--concurrency", callback=_numbers(int, 1), metavar="N,...", help="Callers at once; several are a sweep.")
@click.option("--rate", callback=_numbers(float, 1e-3), metavar="R,...", help="Requests a second, whatever comes back.")
@click.option(
    "--duration", type=click.FloatRange(min=0.01), default=10.0, show_default=True, help="Seconds of each load."
)
@click.option("--count", "calls", type=click.IntRange(min=1), help="Calls of each load, instead of a duration.")
@click.option("--warmup", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Seconds left out before.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Examples in each request.")
@click.option("--k", "ks", callback=_numbers(int, -(2**31)), metavar="K,...", help="Values of k, used in turn.")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="An earlier --json to compare with.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw the latencies; needs matplotlib.")
@as_json_option
@click.pass_obj
def bench(
    connection: Connection,
    samples: tuple[Path, ...],
    golden: Path | None,
    random: bool,
    signature: str,
    concurrency: list[int],
    rate: list[float],
    duration: float,
    calls: int | None,
    warmup: float,
    batch: int,
    ks: list[int],
    baseline: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Measure how fast the server answers, sending SAMPLES or made-up inputs; status 1 when calls failed.

    SAMPLES are files as predict takes them. Recorded requests are sent as they were, unless --signature, --k or --batch
    is given. Made-up inputs (--random) are within the bounds that the version given as --golden states.

    With --concurrency a caller sends its next request when the last was answered; with --rate requests leave on time,
    and latency counts from then.
    """
    if random and samples:
        raise click.UsageError("give SAMPLES or --random, not both.")
    loads = [Load(concurrency=value, duration=duration, warmup=warmup, calls=calls) for value in concurrency]
    loads += [Load(rate=value, duration=duration, warmup=warmup, calls=calls) for value in rate]
    loads = loads or [Load(concurrency=1, duration=duration, warmup=warmup, calls=calls)]
    paths = [*samples, *([] if golden is None or random else [golden_path(golden)])]
    subject = _subject(paths, signature, ks, batch)
    before = None if baseline is None else read_baseline(baseline)
    if before is not None:
        require_comparable(before, subject, [load.name for load in loads])
    with replace(connection, options=replace(connection.options, retry=NO_RETRY)).open() as client:
        requests = _requests(client, subject, paths, {})
        results, interrupted = _measured(client, requests, loads)
    comparisons = [] if before is None else compare_results(before, results)
    value: dict[str, Any] = {
        "model": client.model,
        "address": client.address,
        **asdict(subject),
        "interrupted": interrupted,
        "results": results,
    }
    if before is not None:
        done = {one.load for one in comparisons}
        value["compared"] = comparisons
        value["not_compared"] = [result.load for result in results if result.load not in done]
    show_or_print(value, as_json, lambda: show.bench(client.model, subject, results, before, comparisons))
    if plot is not None and results:
        from client.bench.plot import plot_latency

        plot_latency(results, plot)
    if interrupted:
        return 130
    return 1 if any(result.errors for result in results) else 0


def _subject(paths: Sequence[Path], signature: str, ks: Sequence[int], batch: int) -> Subject:
    """Return what is sent, which can be told from the command line and the files alone."""
    given = click.get_current_context().get_parameter_source
    chosen = [name for name in ("signature", "ks", "batch") if given(name) == ParameterSource.COMMANDLINE]
    if not chosen and holds_requests(paths):
        return AS_RECORDED
    images = paths and all(path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES for path in paths)
    kind = "pictures" if images else "samples" if paths else "random"
    return Subject(signature=signature, k=tuple(sorted(ks)), inputs=kind, batch=batch)


def _requests(
    client: ServingClient, subject: Subject, paths: Sequence[Path], bounds: dict[str, Bound]
) -> list[BenchRequest]:
    """Return what is to be sent, after the server has answered the first of it."""
    target = Target(client.model)
    if subject == AS_RECORDED:
        return _answered(client, recorded_load(paths, target))
    metadata = client.metadata()
    signature = metadata.signature(subject.signature)
    if paths:
        samples = samples_for(client, target, paths, signature.key)
    else:
        samples = made_up_for(client, metadata, subject.batch, bounds, signature.key)
    try:
        return _answered(client, sample_requests(target, signature, samples, subject.k, subject.batch))
    except ServerError as error:
        if subject.k or BATCHING_REFUSAL not in str(error):
            raise
    # A server that batches refuses requests without k.
    return _answered(client, sample_requests(target, signature, samples, [client.info().k], subject.batch))


def _answered(client: ServingClient, requests: Iterable[BenchRequest]) -> list[BenchRequest]:
    """Return the requests, after the first of them was answered: that tells whether there is anything to measure."""
    found, complete = within_memory(requests)
    client.transport.send(found[0].method, found[0].content, client.timeout)
    if not complete:
        print(f"The first {len(found)} requests are sent in turn: all would take too much memory.", file=sys.stderr)
    return found


def _measured(
    client: ServingClient, requests: Sequence[BenchRequest], loads: Sequence[Load]
) -> tuple[list[BenchResult], bool]:
    """Return what each load met until Ctrl-C, and whether that came."""
    results: list[BenchResult] = []
    interrupted = False
    try:
        for load in loads:
            print(f"{load.name} ...", file=sys.stderr)
            result = measure(client, requests, load)
            interrupted = result.interrupted
            if result.answered or result.errors or not interrupted:
                results.append(result)
            if interrupted:
                break
    except KeyboardInterrupt:
        interrupted = True
    if interrupted:
        print("Interrupted: what follows is of the calls answered until then.", file=sys.stderr)
    return results, interrupted
