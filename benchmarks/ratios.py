"""Things to compare take turns, and what is reported is the ratio of two measurements of the same round."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median, stdev

# What one turn measured, by the name of the measure.
Measured = Mapping[str, float]
Turn = Callable[[], Measured]

# The 90% points of Student's t for 1 to 8 degrees of freedom.
_T90 = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397)
_FEW = 10
_SLOW_MS = 500


@dataclass(frozen=True)
class Ratio:
    """The ratios of pairs of measurements.

    Attributes:
        ratio: their median. It is taken of the logarithms, so that swapping the sides inverts it.
        low, high: where four of five further pairs are expected.
        pairs: how many there are.
        ours, other: the median of either side.
    """

    ratio: float
    low: float
    high: float
    pairs: int
    ours: float
    other: float


def ratio_of(ours: Sequence[float], other: Sequence[float]) -> Ratio:
    """Compare the measurements of two sides, pair by pair.

    The spread is the range between the 10% and the 90% quantiles of the ratios. Fewer than ten pairs say little about
    their quantiles, so there it follows from Student's t; a single pair has no spread.
    """
    logs = sorted(math.log(a / b) for a, b in zip(ours, other, strict=True))
    middle, pairs = median(logs), len(logs)
    if pairs >= _FEW:
        low, high = logs[math.floor(0.1 * (pairs - 1))], logs[math.ceil(0.9 * (pairs - 1))]
    else:
        half = _T90[pairs - 2] * stdev(logs) * math.sqrt(1 + 1 / pairs) if pairs > 1 else 0.0
        low, high = middle - half, middle + half
    return Ratio(math.exp(middle), math.exp(low), math.exp(high), pairs, median(ours), median(other))


def take_turns(works: Mapping[str, Turn], rounds: int, seconds: float) -> dict[str, list[Measured]]:
    """Let each work take its turn in each round; who is first changes from round to round.

    Args:
        works: what takes turns, by name.
        rounds: how many rounds there are at most.
        seconds: after this time no round begins, except that there are always three (or `rounds`).

    Returns:
        What was measured in each round, by name.
    """
    found: dict[str, list[Measured]] = {name: [] for name in works}
    names = list(works)
    until = time.monotonic() + seconds
    for number in count():
        if number >= rounds or (number >= 3 and time.monotonic() >= until):
            return found
        first = number % len(names)
        for name in names[first:] + names[:first]:
            found[name].append(works[name]())
    raise AssertionError("count() does not end")


def timed(call: Callable[[], object], least_ms: float = 2.0) -> Turn:
    """Return a work that measures the milliseconds of a call, which it makes often enough to last `least_ms`."""
    once = math.inf
    # The first calls prepare what the others find; a slow one is hardly slower for it.
    for _ in range(3):
        started = time.perf_counter()
        call()
        once = min(once, (time.perf_counter() - started) * 1e3)
        if once > _SLOW_MS:
            break
    repeats = max(1, math.ceil(least_ms / max(once, 1e-4)))

    def turn() -> Measured:
        started = time.perf_counter()
        for _ in range(repeats):
            call()
        return {"time": (time.perf_counter() - started) * 1e3 / repeats}

    return turn


def once(call: Callable[[], object]) -> Turn:
    """Return a work that measures the milliseconds of one call, the first one too."""

    def turn() -> Measured:
        started = time.perf_counter()
        call()
        return {"time": (time.perf_counter() - started) * 1e3}

    return turn
