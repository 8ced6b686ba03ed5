"""The whole run: facts, deviations, the search, curves, other versions, and what follows from them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from client.bench.load import BenchResult
from client.bench.loops import Load
from client.bench.requests import BenchRequest
from client.check.identity import identity_differences
from client.client import ServingClient
from client.errors import ClientError, InputError
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

# The time is divided into so many windows. Beyond them, calls that were under way at the end must still be answered.
_WINDOWS = 150
_SPARE = 0.05
_NOTHING = "No batch size was measured without failed calls."
# A recommended size is measured with up to 16 callers.
_CALLERS_OF_A_SIZE = 5


@dataclass
class _Points:
    """What has settled so far, each place once."""

    meter: Meter
    found: dict[Place, Point] = field(default_factory=dict)
    complete: bool = True

    def at(self, places: Sequence[Place]) -> list[Point]:
        """Return the points at these places, measured if they were not, as far as there is time."""
        for place in places:
            if place not in self.found:
                point = self.meter.settle(place)
                if point is None:
                    self.complete = False
                    break
                self.found[place] = point
        return [self.found[place] for place in places if place in self.found]


def qualify(
    client: ServingClient,
    send: Callable[[Sequence[BenchRequest], Load], BenchResult],
    golden: Path,
    *,
    seconds: float,
    p99_ms: float | None,
    rest: RestServer | None,
    say: Callable[[str], None],
) -> Qualification:
    """Qualify a server.

    Args:
        client: a client of the server, for questions.
        send: sends a load of requests.
        golden: a published version's directory, or its golden file.
        seconds: how long it may take.
        p99_ms: the bound on the 99th percentile, in milliseconds.
        rest: the server's REST port, for its metrics.
        say: tells people what is measured.

    Raises:
        InputError: if there are no golden records, several servers, or if the version lacks a signature.
        ServerError: if the server refuses a single example.
        UnreachableError: if it does not answer.
        KeyboardInterrupt: if Ctrl-C ended a load.
    """
    deadline = time.monotonic() + (1 - _SPARE) * seconds
    expectation = read_golden(golden)
    target = _target(client, expectation.version)
    metadata, info = client.metadata(version=target.version), client.info(version=target.version)
    facts = server_facts(client, target, metadata, golden, expectation.samples[0])
    faults = list(identity_differences(expectation, target, info, metadata))
    say(f"Dense scores in batches of {SIZES[0]} to {SIZES[-1]}")
    far = client.run(deviations(client.address, target, metadata, expectation.samples, SIZES))
    tolerances = needed_tolerances(far)
    subject = Subject(target, metadata.signature(names.SERVING_DEFAULT), expectation.samples, info)
    meter, sizes = Meter(send, subject, seconds / _WINDOWS, deadline, say), [size.batch for size in far.sizes]
    load = _loaded(client, meter, metadata, sizes, merges_of(golden, facts.server_batching), p99_ms)
    if tolerances is None:
        faults.append("The scores are farther from the golden ones than any hardware moves them: no tolerances follow.")
    if load.recommendation is None:
        faults.append(_NOTHING if p99_ms is None else f"No batch size keeps the 99th percentile at {p99_ms:g} ms.")
    metrics = metric_facts(read_metrics(rest))
    notes = _notes(metrics.gpu_confirmed, facts.graph_batching is not None, far, load)
    return Qualification(
        passed=not faults,
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        address=client.address,
        model=client.model,
        server=facts,
        metrics=metrics,
        deviation=far.sizes,
        tolerances=tolerances,
        load=load,
        faults=tuple(faults),
        notes=tuple(notes),
    )


def _loaded(
    client: ServingClient,
    meter: Meter,
    metadata: Metadata,
    sizes: Sequence[int],
    merges: Callable[[int], str],
    p99_ms: float | None,
) -> LoadResult:
    """Measure all that takes load, what matters most first."""
    found: Search[BenchResult] = search(sizes, meter.screen, meter.measure)
    points = _Points(meter)
    for place, windows in found.windows.items():
        if place == found.best or done(windows):
            points.found[place] = point_of(place, windows)
    best = found.best
    alone = points.at([Place(size, 1) for size in sizes])
    recommendation = recommend(
        alone, lambda size: points.at([Place(size, callers) for callers in CALLERS[:_CALLERS_OF_A_SIZE]]), p99_ms
    )
    ratios = _ratios(client, meter, metadata, best, merges)
    if best is not None:
        points.at([Place(best.batch, callers) for callers in CALLERS])
        points.at([Place(size, best.callers) for size in sizes])
    good = [point for point in points.found.values() if point.calls and not point.errors]
    return LoadResult(
        window_seconds=meter.window,
        screened=tuple(
            Screened(batch=place.batch, callers=place.callers, examples_per_second=rate)
            for place, rate in sorted(found.screened.items())
        ),
        search_windows=found.spent,
        best=max(good, key=lambda point: point.examples_per_second, default=None),
        points=tuple(points.found[place] for place in sorted(points.found)),
        complete=points.complete,
        versions=tuple(ratios),
        recommendation=recommendation,
    )


def _target(client: ServingClient, version: int | None) -> Target:
    """Return the version that the golden records lie in, where it is served, and otherwise the newest."""
    if len(client.addresses) > 1:
        raise InputError(f"a qualification covers one server, and these are {len(client.addresses)}: name one")
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
        if status.state == "AVAILABLE" and status.version not in meters and _alike(client, metadata, status.version):
            subject = replace(meter.subject, target=Target(client.model, status.version))
            meters[status.version] = replace(meter, subject=subject, _requests={})
    if best is None or len(meters) == 1:
        return []
    places = dict.fromkeys((best, Place(1, best.callers), Place(1, 1)))
    return version_ratios(meters, metadata.version, list(places), merges)


def _alike(client: ServingClient, metadata: Metadata, version: int) -> bool:
    try:
        other = client.metadata(version=version).signature(names.SERVING_DEFAULT)
    except ClientError:
        return False
    own = metadata.signature(names.SERVING_DEFAULT)
    return {name: info.dtype for name, info in other.inputs.items()} == {
        name: info.dtype for name, info in own.inputs.items()
    }


def _notes(gpu_confirmed: bool, graph_batching: bool, far: Deviations, load: LoadResult) -> list[str]:
    said = []
    if not gpu_confirmed:
        said.append(
            "No GPU confirmed any of this: the server does not say that it runs on one. All of it holds for the "
            "hardware that answered, whatever it is."
        )
    if graph_batching:
        said.append(
            "The graph of this version merges requests: its own waiting time is part of every latency. For settings "
            "that it does not blur, qualify a version that was exported with --batching none."
        )
    if far.refused:
        said.append(far.refused)
    if not load.complete:
        said.append("The time was up before every point was measured: pass more --minutes.")
    restless = [str(point.place) for point in load.points if not point.settled]
    if restless:
        said.append(f"The rate did not settle at {'; '.join(restless)}.")
    failed = [f"{point.place} ({', '.join(point.errors)})" for point in load.points if point.errors]
    if failed:
        said.append(f"Calls failed at {'; '.join(failed)}.")
    limits = sorted({limit for point in load.points for limit in point.limits})
    return said + [f"{limit}, at some points: the server may be faster there." for limit in limits]
