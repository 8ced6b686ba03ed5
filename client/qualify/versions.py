"""Other served versions, measured at the same places in turn, so that what disturbs one disturbs all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from client.bench.load import BenchResult
from client.qualify.facts import record_of
from client.qualify.meter import Meter
from client.qualify.points import Place

_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class VersionRatio:
    """The ratios of another version to the qualified one at one place: the medians of several rounds.

    Above 1 means more examples a second, or longer latencies. `merges` says how requests to it are batched.
    """

    version: int
    merges: str
    batch: int
    callers: int
    examples_per_second: float
    p99: float
    rounds: int


def version_ratios(
    meters: dict[int, Meter], version: int, places: Sequence[Place], merges: Callable[[int], str]
) -> list[VersionRatio]:
    """Measure all versions at each place, in rounds.

    Args:
        meters: the meter of each version.
        version: the qualified version.
        places: where to measure.
        merges: says how requests to a version are batched.
    """
    found = []
    for place in places:
        rounds = []
        for number in range(_ROUNDS):
            # The versions take turns at going first.
            order = sorted(meters)[number % len(meters) :] + sorted(meters)[: number % len(meters)]
            if not meters[version].has_time(1.1 * len(order)):
                break
            meters[version].say(f"versions {', '.join(map(str, order))} in turn")
            rounds.append({each: meters[each].measure(place) for each in order})
        for other in sorted(set(meters) - {version}):
            pairs = [
                (one, own)
                for one, own in ((windows[other], windows[version]) for windows in rounds)
                if one and own and one.answered and own.answered
            ]
            if pairs:
                found.append(_ratio(other, merges(other), place, pairs))
    return found


def _ratio(version: int, merges: str, place: Place, pairs: Sequence[tuple[BenchResult, BenchResult]]) -> VersionRatio:
    return VersionRatio(
        version=version,
        merges=merges,
        batch=place.batch,
        callers=place.callers,
        examples_per_second=median(one.examples_per_second / own.examples_per_second for one, own in pairs),
        p99=median(one.percentiles_ms["99"] / own.percentiles_ms["99"] for one, own in pairs),
        rounds=len(pairs),
    )


def merges_of(golden: Path, server_batching: bool) -> Callable[[int], str]:
    """Return a function that says how requests to a version are batched, according to its export.json."""
    directory = golden if golden.is_dir() else golden.parent.parent

    def merges(version: int) -> str:
        record = record_of(directory.resolve().parent / str(version))
        if record is None:
            return "unknown: its export.json was not found"
        batching = ["in the graph"] if record.batching else []
        batching += ["by the server"] if server_batching else []
        return " and ".join(batching) or "none"

    return merges
