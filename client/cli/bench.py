"""`serving-client bench`."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from client.bench.baseline import Baseline, Comparison, Subject, compare_results, read_baseline, require_comparable
from client.bench.load import BenchResult
from client.bench.loops import Load
from client.bench.plot import plot_latency
from client.bench.processes import Server, sender
from client.bench.search import search_rate
from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import POSITIVE, Finite, as_json_option, show_or_print, utf8
from client.cli.samples import bounds_of, golden_path, sample_arguments
from client.cli.traffic import requests_of, subject_of
from signatures.contract import names


def _numbers(
    kind: Callable[[str], Any], least: float
) -> Callable[[click.Context, click.Parameter, str | None], list[Any]]:
    """Return a callback that reads numbers separated by commas."""

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> list[Any]:
        try:
            found = [kind(text) for text in (value or "").split(",") if value]
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not a list of numbers, as in 1,4,16") from error
        if any(not least <= number < math.inf for number in found):
            raise click.BadParameter(f"{value!r} holds a number that is not finite, or below {least:g}")
        return found

    return read


@click.command(cls=ConnectedCommand)
@sample_arguments
@click.option("--random", "random", is_flag=True, help="Make up the inputs; the default without samples.")
@click.option(
    "--signature", callback=utf8, default=names.SERVING_DEFAULT, show_default=True, help="The signature to call."
)
@click.option("--concurrency", callback=_numbers(int, 1), metavar="N,...", help="Callers at once; several are a sweep.")
@click.option(
    "--rate", callback=_numbers(float, 1e-3), metavar="R,...", help="Requests a second, whatever the answers."
)
@click.option("--poisson", is_flag=True, help="With --rate, requests leave at random times, as from many users.")
@click.option(
    "--target-p99",
    type=POSITIVE,
    metavar="MS",
    help="Search for the highest rate whose 99th percentile stays below this.",
)
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that send.")
@click.option("--duration", type=Finite(min=0.01), default=10.0, show_default=True, help="Seconds of each load.")
@click.option("--count", "calls", type=click.IntRange(min=1), help="Calls of each load, instead of a duration.")
@click.option("--warmup", type=Finite(min=0), default=1.0, show_default=True, help="Seconds of load before measuring.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Examples in each request.")
@click.option("--k", "ks", callback=_numbers(int, -(2**31)), metavar="K,...", help="Values of k, used in turn.")
@click.option("--min-score", type=float, help="The lowest score to keep.")
@click.option("--baseline", type=click.Path(path_type=Path), metavar="FILE", help="An earlier --json to compare with.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Plot the latencies; needs matplotlib.")
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
    poisson: bool,
    target_p99: float | None,
    processes: int,
    duration: float,
    calls: int | None,
    warmup: float,
    batch: int,
    ks: list[int],
    min_score: float | None,
    baseline: Path | None,
    plot: Path | None,
    as_json: bool,
) -> int:
    """Measure how fast the server answers, sending SAMPLES or made-up inputs; status 1 when calls failed.

    SAMPLES are files as predict takes them. Recorded requests are sent as they were, unless --signature, --k,
    --min-score or --batch is given. Made-up inputs (--random) are within the bounds that the version given as --golden
    states.

    With --concurrency a caller sends its next request when the last was answered; with --rate requests leave on time,
    and latency counts from then. With --target-p99 the status is 1 if no rate stays below the target.
    """
    if random and samples:
        raise click.UsageError("give SAMPLES or --random, not both.")
    if target_p99 is not None and rate:
        raise click.UsageError("--target-p99 searches for the rate: leave --rate out.")
    loads = _loads(concurrency, rate, Load(duration=duration, warmup=warmup, calls=calls, poisson=poisson))
    paths = [*samples, *([] if golden is None or random else [golden_path(golden)])]
    subject = subject_of(paths, signature, ks, batch, min_score)
    before = None if baseline is None else read_baseline(baseline)
    if before is not None:
        require_comparable(before, subject, [load.name for load in loads])
    server = Server(connection.required_address(), connection.required_model(), connection.timeout, connection.options)
    with sender(server, processes) as (client, send):
        runs = Runs(partial(send, requests_of(client, subject, paths, bounds_of(golden) if random else {})))
        with runs.until_interrupted():
            runs.each(loads)
            if target_p99 is not None:
                runs.search(loads[-1], target_p99)
    results = runs.results
    comparisons = [] if before is None else compare_results(before, results)
    value: dict[str, Any] = {
        "model": client.model,
        "address": client.address,
        **asdict(subject),
        "processes": processes,
        "interrupted": runs.interrupted,
        "results": results,
    }
    if target_p99 is not None:
        value |= {"target_p99_ms": target_p99, "highest_rate": runs.highest_rate}
    if before is not None:
        done = {one.load for one in comparisons}
        value["compared"] = comparisons
        value["not_compared"] = [result.load for result in results if result.load not in done]
    show_or_print(value, as_json, lambda: _show(value, subject, before, comparisons))
    if plot is not None and results:
        plot_latency(results, plot)
    if runs.interrupted:
        return 130
    if target_p99 is not None:
        return 0 if runs.highest_rate else 1
    return 1 if any(result.errors for result in results) else 0


def _loads(concurrency: Sequence[int], rate: Sequence[float], load: Load) -> list[Load]:
    loads = [replace(load, concurrency=value) for value in concurrency] + [replace(load, rate=value) for value in rate]
    return loads or [replace(load, concurrency=1)]


def _show(
    value: Mapping[str, Any], subject: Subject, before: Baseline | None, comparisons: Sequence[Comparison]
) -> None:
    show.bench(value["model"], subject, value["results"], before, comparisons)
    if "target_p99_ms" in value:
        show.highest_rate(value["highest_rate"], value["target_p99_ms"])


@dataclass
class Runs:
    """The results of the loads that were sent, until Ctrl-C. `highest_rate` is the highest that met a target."""

    run: Callable[[Load], BenchResult]
    results: list[BenchResult] = field(default_factory=list)
    interrupted: bool = False
    highest_rate: float | None = None

    @contextmanager
    def until_interrupted(self) -> Iterator[None]:
        """Return a context that ends at Ctrl-C, with a message."""
        try:
            yield
        except KeyboardInterrupt:
            self.interrupted = True
        if self.interrupted:
            print("Interrupted: the results cover the calls answered until then.", file=sys.stderr)

    def each(self, loads: Sequence[Load]) -> None:
        """Send one load after the other."""
        for load in loads:
            if not self.interrupted:
                self._send(load)

    def search(self, load: Load, target_ms: float) -> None:
        """Search for the highest rate within the target, starting from the throughput of the last load."""
        capacity = self.results[-1].calls_per_second if self.results else 0.0
        if capacity and not self.interrupted:
            for rate, kept in search_rate(self._send, load, capacity, target_ms):
                if kept:
                    self.highest_rate = rate

    def _send(self, load: Load) -> BenchResult:
        print(f"{load.name} ...", file=sys.stderr)
        result = self.run(load)
        self.interrupted = result.interrupted
        if result.answered or result.errors or not result.interrupted:
            self.results.append(result)
        return result
