"""Search for the highest rate of requests that a server answers in time."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from client.bench.load import BenchResult
from client.bench.loops import Load

# The search ends when the highest rate is known to within this factor.
_PRECISION = 1.05
# The server must keep up: when requests pile up, the length of the run bounds their latencies.
_KEPT = 0.95
_MOST_RUNS = 12


def search_rate(
    run: Callable[[Load], BenchResult], load: Load, capacity: float, target_ms: float
) -> Iterator[tuple[float, bool]]:
    """Search for the highest rate whose 99th percentile stays within a target.

    Args:
        run: sends a load and returns its result.
        load: the load to send at each rate.
        capacity: about how many requests a second the server can answer.
        target_ms: the target, in milliseconds.

    Yields:
        Each rate that was tried, and whether the target was met without errors. The rates that meet it increase.
    """
    lowest, highest, rate = 0.0, float("inf"), 0.7 * capacity
    for _ in range(_MOST_RUNS):
        rate = float(f"{rate:.3g}")
        result = run(replace(load, concurrency=None, rate=rate))
        kept = _keeps(result, target_ms)
        yield rate, kept
        if result.interrupted:
            return
        lowest, highest = (rate, highest) if kept else (lowest, rate)
        if highest <= lowest * _PRECISION:
            return
        rate = 2 * lowest if highest == float("inf") else (lowest * highest) ** 0.5 or highest / 2


def _keeps(result: BenchResult, target_ms: float) -> bool:
    if result.interrupted or not result.answered or result.errors or result.percentiles_ms["99"] > target_ms:
        return False
    return result.scheduled >= _KEPT * (result.seconds - result.percentiles_ms["50"] / 1e3)
