"""`serving-client bench`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from client.bench.baseline import Subject, compare_results, read_baseline, require_comparable
from client.bench.load import NO_RETRY, BenchResult, Load, measure, random_inputs, requests_for
from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import as_json_option, show_or_print, utf8
from client.client import ServingClient
from client.errors import InputError
from client.rpc.metadata import Signature, Target
from client.samples.image_samples import picture_samples
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
@click.argument("pictures", nargs=-1, type=click.Path(path_type=Path))
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
    pictures: tuple[Path, ...],
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
    """Measure how fast the server answers, sending PICTURES or random inputs; status 1 when calls failed.

    With --concurrency a caller sends its next request when the last was answered; with --rate requests leave on time,
    and latency counts from then.
    """
    loads = [Load(concurrency=value, duration=duration, warmup=warmup, calls=calls) for value in concurrency]
    loads += [Load(rate=value, duration=duration, warmup=warmup, calls=calls) for value in rate]
    loads = loads or [Load(concurrency=1, duration=duration, warmup=warmup, calls=calls)]
    kind = "pictures" if pictures else "random"
    subject = Subject(signature=signature, k=tuple(sorted(ks)), inputs=kind, batch=batch)
    before = None if baseline is None else read_baseline(baseline)
    if before is not None:
        require_comparable(before, subject, [load.name for load in loads])
    with replace(connection, options=replace(connection.options, retry=NO_RETRY)).open() as client:
        declared = client.metadata().signature(signature)
        inputs = _inputs(client, declared, pictures, batch)
        # The first answer also tells, before anything is measured, whether there can be one.
        client.predict(inputs, ks[0] if ks else None, signature)
        requests = requests_for(Target(client.model), declared, inputs, ks, batch)
        results, interrupted = _measured(client, requests, batch, loads)
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
    show_or_print(value, as_json, lambda: show.bench(client.model, results, before, comparisons))
    if plot is not None and results:
        from client.bench.plot import plot_latency

        plot_latency(results, plot)
    if interrupted:
        return 130
    return 1 if any(result.errors for result in results) else 0


def _measured(
    client: ServingClient, requests: Sequence[bytes], batch: int, loads: Sequence[Load]
) -> tuple[list[BenchResult], bool]:
    """Return what each load met until Ctrl-C, and whether that came."""
    results: list[BenchResult] = []
    interrupted = False
    try:
        for load in loads:
            print(f"{load.name} ...", file=sys.stderr)
            result = measure(client, requests, batch, load)
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


def _inputs(client: ServingClient, signature: Signature, pictures: tuple[Path, ...], batch: int) -> dict[str, Any]:
    if not pictures:
        return random_inputs(signature, batch)
    samples = picture_samples(pictures, client.metadata(), client.info().preprocessing)
    chosen = [samples[number % len(samples)] for number in range(batch)]
    if names.ENCODED_IMAGES in signature.inputs:
        if any(sample.file is None for sample in chosen):
            raise InputError(f"signature {signature.key} takes JPEG and PNG files only")
        return {names.ENCODED_IMAGES: np.array([sample.file for sample in chosen], object)}
    return {name: np.concatenate([sample.inputs[name] for sample in chosen]) for name in chosen[0].inputs}
