"""The whole qualification: facts, deviations, the search, curves, other versions, and the conclusions."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from client.bench.load import BenchResult
from client.bench.processes import Send
from client.check.identity import identity_differences
from client.client import ServingClient
from client.errors import ClientError, InputError, UnreachableError
from client.qualify.deviation import Deviations, deviations, needed_tolerances
from client.qualify.facts import metric_facts, read_metrics, server_facts
from client.qualify.meter import Meter, Subject
from client.qualify.points import Place, Point, done, point_of
from client.qualify.recommend import recommend
from client.qualify.results import LoadResult, Qualification, Screened
from client.qualify.search import CALLERS, SIZES, Search, search
from client.qualify.versions import VersionRatio, merges_of, version_ratios
from client.rest.http import RestServer
from client.rpc.metadata import Metadata, Target
from client.samples.golden import read_golden
from signatures.contract import names

# A run is divided into this many windows. The spare time is for calls still under way at the end.
_WINDOWS = 150
_SPARE = 0.05
# A recommended size is measured with up to 16 callers.
_CALLERS_OF_A_SIZE = 5


@dataclass
class _Points:
    """The points measured so far, each place once."""

    meter: Meter
    by_place: dict[Place, Point] = field(default_factory=dict)
    complete: bool = True

    def at(self, places: Sequence[Place]) -> list[Point]:
        """Return the points at these places, measuring the missing ones until the time is up."""
        for place in places:
            if place not in self.by_place:
                point = self.meter.settle(place)
                if point is None:
                    self.complete = False
                    break
                self.by_place[place] = point
        return [self.by_place[place] for place in places if place in self.by_place]


def qualify(
    client: ServingClient,
    send: Send,
    golden: Path,
    *,
    seconds: float,
    p99_ms: float | None,
    rest: RestServer | None,
    say: Callable[[str], None],
) -> Qualification:
    """Qualify a server.

    Args:
        client: for calls other than the load.
        send: sends a load of requests.
        golden: a published version's directory, or its golden file.
        seconds: how long the run may take.
        p99_ms: the bound on the 99th percentile, in milliseconds.
        rest: the server's REST port, for its metrics.
        say: reports progress.

    Raises:
        InputError: if there are no golden records, several servers, or if the version lacks a signature.
        ServerError: if the server refuses a single example.
        UnreachableError: if the server or its REST port does not answer.
        KeyboardInterrupt: if Ctrl-C ended a load.
    """
    deadline = time.monotonic() + (1 - _SPARE) * seconds
    # Report a wrong REST address now, and not after the load.
    read_metrics(rest)
    expectation = read_golden(golden)
    target = _target(client, expectation.version)
    metadata, info = client.metadata(version=target.version), client.info(version=target.version)
    server = server_facts(client, target, metadata, golden, expectation.samples[0])
    faults = list(identity_differences(expectation, target, info, metadata))
    say(f"Dense scores in batches of {SIZES[0]} to {SIZES[-1]}")
    deviation = client.run(deviations(client.address, target, metadata, expectation.samples, SIZES))
    tolerances = needed_tolerances(deviation)
    if tolerances is None:
        faults.append("The scores differ more from the golden ones than any hardware explains: no tolerances follow.")
    subject = Subject(target, metadata.signature(names.SERVING_DEFAULT), expectation.samples, info)
    meter = Meter(send, subject, seconds / _WINDOWS, deadline, say)
    sizes = [size.batch for size in deviation.sizes]
    load = _measure_load(client, meter, metadata, sizes, merges_of(golden, server.server_batching), p99_ms)
    if load.recommendation is None and p99_ms is not None:
        faults.append(f"No batch size keeps the 99th percentile at {p99_ms:g} ms.")
    elif load.recommendation is None:
        faults.append("No batch size was measured without failed calls.")
    try:
        metrics = metric_facts(read_metrics(rest))
    except UnreachableError:
        metrics = metric_facts(None)
    return Qualification(
        passed=not faults,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        address=client.address,
        model=client.model,
        server=server,
        metrics=metrics,
        deviation=deviation.sizes,
        tolerances=tolerances,
        load=load,
        faults=tuple(faults),
        notes=tuple(_notes(metrics.gpu_confirmed, server.graph_batching is not None, deviation, load)),
    )


def _measure_load(
    client: ServingClient,
    meter: Meter,
    metadata: Metadata,
    sizes: Sequence[int],
    merges: Callable[[int], str],
    p99_ms: float | None,
) -> LoadResult:
    """Measure everything that needs load, the most important first."""
    found: Search[BenchResult] = search(sizes, meter.screen, meter.measure)
    points = _Points(meter)
    for place, windows in found.windows.items():
        if place == found.best or done(windows):
            points.by_place[place] = point_of(place, windows)
    best = found.best
    alone = points.at([Place(size, 1) for size in sizes])
    recommendation = recommend(
        alone, lambda size: points.at([Place(size, callers) for callers in CALLERS[:_CALLERS_OF_A_SIZE]]), p99_ms
    )
    ratios = _ratios(client, meter, metadata, best, merges)
    if best is not None:
        points.at([Place(best.batch, callers) for callers in CALLERS])
        points.at([Place(size, best.callers) for size in sizes])
    measured = points.by_place
    without_errors = [point for point in measured.values() if point.calls and not point.errors]
    return LoadResult(
        window_seconds=meter.window,
        screened=tuple(
            Screened(batch=place.batch, callers=place.callers, examples_per_second=rate)
            for place, rate in sorted(found.screened.items())
        ),
        search_windows=found.spent,
        best=max(without_errors, key=lambda point: point.examples_per_second, default=None),
        points=tuple(measured[place] for place in sorted(measured)),
        complete=points.complete,
        versions=tuple(ratios),
        recommendation=recommendation,
    )


def _target(client: ServingClient, version: int | None) -> Target:
    """Return the version that the golden records belong to if it is served, and otherwise the newest."""
    if len(client.addresses) > 1:
        raise InputError(f"a qualification covers one server, not {len(client.addresses)}: pass one address")
    client.wait_until_ready()
    states = {status.version: status.state for status in client.status()}
    if version is not None and states.get(version, "END") != "END":
        # Another version may be available sooner.
        client.wait_until_ready(version=version)
        return Target(client.model, version)
    return Target(client.model, max(number for number, state in states.items() if state == "AVAILABLE"))


def _ratios(
    client: ServingClient, meter: Meter, metadata: Metadata, best: Place | None, merges: Callable[[int], str]
) -> list[VersionRatio]:
    """Measure the other versions that are available and take the same requests."""
    meters = {metadata.version: meter}
    for status in client.status():
        if status.state == "AVAILABLE" and status.version not in meters:
            if not _takes_the_same(client, metadata, status.version):
                continue
            subject = replace(meter.subject, target=Target(client.model, status.version))
            meters[status.version] = replace(meter, subject=subject, _requests={})
    if best is None or len(meters) == 1:
        return []
    places = dict.fromkeys((best, Place(1, best.callers), Place(1, 1)))
    return version_ratios(meters, metadata.version, list(places), merges)


def _takes_the_same(client: ServingClient, metadata: Metadata, version: int) -> bool:
    try:
        other = client.metadata(version=version)
        signatures = [each.signature(names.SERVING_DEFAULT) for each in (metadata, other)]
    except ClientError:
        return False
    one, two = ({name: info.dtype for name, info in each.inputs.items()} for each in signatures)
    return one == two


def _notes(gpu_confirmed: bool, graph_batching: bool, deviation: Deviations, load: LoadResult) -> Iterator[str]:
    if not gpu_confirmed:
        yield (
            "No GPU confirmed any of this: the server does not report that it runs on one. All results are for the "
            "hardware that answered, whatever it is."
        )
    if graph_batching:
        yield (
            "This version batches in the graph, so every latency includes the time that requests wait there. For "
            "cleaner settings, qualify a version that was exported with --batching none."
        )
    if deviation.refused:
        yield deviation.refused
    if not load.complete:
        yield "The time was up before every point was measured: pass more --minutes."
    if unsettled := sum(not point.settled for point in load.points):
        yield (
            f"{unsettled} of {len(load.points)} points did not settle: other programs may have used the server's "
            "machine or this one."
        )
    failed = [f"{point.place} ({', '.join(point.errors)})" for point in load.points if point.errors]
    if failed:
        yield f"Calls failed at {'; '.join(failed)}."
    for limit in sorted({limit for point in load.points for limit in point.limits}):
        yield f"{limit}, at some points: the server may be faster there."
