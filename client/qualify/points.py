"""Points of load, each a batch size and a number of callers, measured until the rate has settled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from client.bench.histogram import merged
from client.bench.load import BenchResult

# A point has settled when this many windows in a row agree this well: (largest - smallest) / largest.
WINDOWS = 3
AGREEMENT = 0.05
# A rate that has not settled by then never will.
MOST_WINDOWS = 6


@dataclass(frozen=True, order=True)
class Place:
    """A place in the grid of loads: requests of `batch` examples from `callers` that each wait for their answers."""

    batch: int
    callers: int

    def __str__(self) -> str:
        return f"batch size {self.batch}, {self.callers} caller{'' if self.callers == 1 else 's'}"


class Rated(Protocol):
    """A window with a rate."""

    @property
    def examples_per_second(self) -> float:
        """The examples answered in a second."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What was measured at one place, over the last windows. `limits` says how the load generator limited it."""

    batch: int
    callers: int
    examples_per_second: float
    p50_ms: float
    p99_ms: float
    calls: int
    windows: int
    settled: bool
    errors: dict[str, int]
    limits: tuple[str, ...]

    @property
    def place(self) -> Place:
        """Where it was measured."""
        return Place(self.batch, self.callers)


def done(windows: Sequence[Rated]) -> bool:
    """Return whether a place needs no further window: it has settled, or it never will."""
    return settled(windows) or len(windows) >= MOST_WINDOWS


def settled(windows: Sequence[Rated]) -> bool:
    """Return whether the last windows agree."""
    rates = [one.examples_per_second for one in windows[-WINDOWS:]]
    return len(rates) == WINDOWS and max(rates) - min(rates) <= AGREEMENT * max(rates)


def point_of(place: Place, windows: Sequence[BenchResult]) -> Point:
    """Return the point of these windows: rates and latencies of the last ones, and the errors of all."""
    last = windows[-WINDOWS:]
    latencies = merged(one.latencies for one in last)
    return Point(
        batch=place.batch,
        callers=place.callers,
        examples_per_second=sum(one.examples_per_second * one.seconds for one in last)
        / sum(one.seconds for one in last),
        p50_ms=latencies.percentile(50) * 1e3,
        p99_ms=latencies.percentile(99) * 1e3,
        calls=latencies.total,
        windows=len(windows),
        settled=settled(windows),
        errors=dict(sum((Counter(one.errors) for one in windows), Counter())),
        limits=tuple(dict.fromkeys(limit.split(":")[0] for one in last for limit in one.limits)),
    )
