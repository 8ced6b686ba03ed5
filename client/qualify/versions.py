"""The other versions that are served, measured at the same places in turn, so that what disturbs one disturbs all."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.qualify.facts import record_of
from client.qualify.meter import Meter
from client.qualify.points import Place

_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class VersionRatio:
    """Another version at one place, divided by the one that is qualified: the median of some rounds.

    Above 1 means more examples a second, or longer latencies. `merges` says how requests are merged in it.
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
        meters: what measures each version.
        version: the version that is qualified.
        places: where to measure.
        merges: says how requests are merged in a version.
    """
    found = []
    for place in places:
        rounds = []
        for number in range(_ROUNDS):
            # Each goes first in some round.
            order = sorted(meters)[number % len(meters) :] + sorted(meters)[: number % len(meters)]
            if not meters[version].has_time(1.1 * len(order)):
                break
            meters[version].say(f"versions {', '.join(map(str, order))} in turn")
            rounds.append({each: meters[each].measure(place) for each in order})
        for other in sorted(set(meters) - {version}):
            pairs = [(one[other], one[version]) for one in rounds]
            ratio = _ratio(pairs)
            if ratio is not None:
                calls, p99, several = ratio
                found.append(
                    VersionRatio(
                        version=other,
                        merges=merges(other),
                        batch=place.batch,
                        callers=place.callers,
                        examples_per_second=calls,
                        p99=p99,
                        rounds=several,
                    )
                )
    return found


def _ratio(pairs: Sequence[tuple[Any, Any]]) -> tuple[float, float, int] | None:
    """Return the ratios of rates and of 99th percentiles, and the rounds in which both versions answered."""
    good = [(one, other) for one, other in pairs if one and other and one.answered and other.answered]
    if not good:
        return None
    rates = statistics.median(one.examples_per_second / other.examples_per_second for one, other in good)
    p99 = statistics.median(one.percentiles_ms["99"] / other.percentiles_ms["99"] for one, other in good)
    return rates, p99, len(good)


def merges_of(golden: Path, server_batching: bool) -> Callable[[int], str]:
    """Return what says how a version merges requests, as far as its export.json lies beside the golden one."""
    directory = golden if golden.is_dir() else golden.parent.parent

    def merges(version: int) -> str:
        record = record_of(directory.resolve().parent / str(version))
        if record is None:
            return "unknown, as its export.json is not at hand"
        said = ["the graph"] if record.batching else []
        said += ["the server"] if server_batching else []
        return " and ".join(said) or "nothing"

    return merges
