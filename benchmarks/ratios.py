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

# The 95% points of Student's t for 1 to 18 degrees of freedom.
_T95 = (
    *(6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833),
    *(1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734),
)
_FEW = 20
# Two runs differ by more than the rounds of one, even in memory: processes and their memory are new.
_LEAST_SPREAD = 1.05
_SLOW_MS = 500
# What has little time has this many rounds all the same.
_LEAST_ROUNDS = 5


@dataclass(frozen=True)
class Ratio:
    """The ratios of pairs of measurements.

    Attributes:
        ratio: their median. It is taken of the logarithms, so that swapping the sides inverts it.
        low, high: where nine of ten further pairs are expected.
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

    The spread is the range between the 5% and the 95% quantiles of the ratios. Fewer than 20 pairs say little about
    these quantiles, so there it follows from Student's t. It reaches at least 5% to either side, because two runs
    differ by more than the rounds of one. A single pair has no spread.
    """
    logs = sorted(math.log(a / b) for a, b in zip(ours, other, strict=True))
    middle, pairs = median(logs), len(logs)
    if pairs >= _FEW:
        low, high = logs[math.floor(0.05 * (pairs - 1))], logs[math.ceil(0.95 * (pairs - 1))]
    else:
        half = _T95[pairs - 2] * stdev(logs) * math.sqrt(1 + 1 / pairs) if pairs > 1 else 0.0
        low, high = middle - half, middle + half
    least = math.log(_LEAST_SPREAD) if pairs > 1 else 0.0
    low, high = min(low, middle - least), max(high, middle + least)
    return Ratio(math.exp(middle), math.exp(low), math.exp(high), pairs, median(ours), median(other))


def take_turns(works: Mapping[str, Turn], rounds: int, seconds: float) -> dict[str, list[Measured]]:
    """Let each work take its turn in each round; who is first changes from round to round.

    Args:
        works: what takes turns, by name.
        rounds: how many rounds there are at most.
        seconds: after this time no round begins, except that there are always five (or `rounds`).

    Returns:
        What was measured in each round, by name.
    """
    found: dict[str, list[Measured]] = {name: [] for name in works}
    names = list(works)
    until = time.monotonic() + seconds
    for number in count():
        if number >= rounds or (number >= _LEAST_ROUNDS and time.monotonic() >= until):
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
