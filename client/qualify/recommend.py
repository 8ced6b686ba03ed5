"""Recommend batching settings for exports, from the measurements and a bound on the 99th percentile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from client.qualify.points import Point

# The smallest setting with this share of the best throughput is chosen: it answers sooner.
_ENOUGH = 0.95
# A size is allowed if its run takes less than this share of the time of the next larger one.
_SHORTER = 0.9
# More threads only wait for the device.
_MOST_THREADS = 16
_ENOUGH_CALLS = 100


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Options of `export-model`. `expected_p99_ms` is an estimate; `why` holds the reasons, in sentences."""

    max_batch_size: int
    allowed_batch_sizes: tuple[int, ...]
    batch_timeout_micros: int
    num_batch_threads: int
    expected_p99_ms: float
    bound_ms: float | None
    why: tuple[str, ...]

    @property
    def options(self) -> str:
        """The options, as command-line text."""
        sizes = " ".join(f"--allowed-batch-size {size}" for size in self.allowed_batch_sizes)
        return (
            f"--max-batch-size {self.max_batch_size} {sizes} --batch-timeout-micros {self.batch_timeout_micros} "
            f"--num-batch-threads {self.num_batch_threads}"
        )


def estimate_ms(run_p99_ms: float, timeout_ms: float) -> float:
    """Estimate the longest latency of a request: it waits for others, for a run that has just begun, and for its own.

    Example:
        >>> estimate_ms(10.0, 2.0)
        22.0
    """
    return timeout_ms + 2 * run_p99_ms


def recommend(
    alone: Sequence[Point], several: Callable[[int], Sequence[Point]], bound_ms: float | None
) -> Recommendation | None:
    """Recommend settings, or return None if no batch size keeps the bound.

    Args:
        alone: the points of one caller, from batch size 1 on.
        several: measures more callers at a batch size.
        bound_ms: the bound on the 99th percentile; None for the best throughput.
    """
    runs = {point.batch: point for point in alone if point.calls and not point.errors}
    if not runs:
        return None
    timeout_ms = _timeout_ms(runs, bound_ms)

    def keeps_bound(point: Point) -> bool:
        return bound_ms is None or estimate_ms(point.p99_ms, timeout_ms) <= bound_ms

    def fast_enough(points: Sequence[Point]) -> list[Point]:
        best = max(point.examples_per_second for point in points)
        return [point for point in points if point.examples_per_second >= _ENOUGH * best]

    within_bound = [point for point in runs.values() if keeps_bound(point)]
    if not within_bound:
        return None
    size = min(point.batch for point in fast_enough(within_bound))
    more = [point for point in several(size) if 1 < point.callers <= _MOST_THREADS and point.calls and not point.errors]
    chosen = min(fast_enough([runs[size], *filter(keeps_bound, more)]), key=lambda point: point.callers)
    return Recommendation(
        max_batch_size=size,
        allowed_batch_sizes=_sizes(runs, size),
        batch_timeout_micros=round(timeout_ms * 1000),
        num_batch_threads=chosen.callers,
        expected_p99_ms=estimate_ms(chosen.p99_ms, timeout_ms),
        bound_ms=bound_ms,
        why=_why(runs, chosen, timeout_ms, bound_ms),
    )


def _timeout_ms(runs: Mapping[int, Point], bound_ms: float | None) -> float:
    """Return how long to wait for others: half of what a request takes alone, and at most a tenth of the bound."""
    half = runs[min(runs)].p50_ms / 2
    chosen = half if bound_ms is None else min(half, bound_ms / 10)
    # Tenths of a millisecond.
    return max(0.1, round(chosen, 1))


def _sizes(runs: Mapping[int, Point], largest: int) -> tuple[int, ...]:
    """Return the sizes to pad to: those whose run is clearly shorter than that of the next larger one."""
    found = [largest]
    for size in sorted((size for size in runs if size < largest), reverse=True):
        if runs[size].p50_ms < _SHORTER * runs[found[0]].p50_ms:
            found.insert(0, size)
    return tuple(found)


def _why(runs: Mapping[int, Point], chosen: Point, timeout_ms: float, bound_ms: float | None) -> tuple[str, ...]:
    alone, size = runs[chosen.batch], chosen.batch
    larger = [point for point in runs.values() if point.batch > size]
    threads = "More than one run at a time brings at most 5% more examples a second, or exceeds the bound."
    if chosen.callers > 1:
        threads = (
            f"With {chosen.callers} runs at a time it answers {chosen.examples_per_second:.0f} examples a second; more "
            "bring at most 5% more, or exceed the bound."
        )
    reasons = [
        f"With batch size {size}, one run at a time takes {alone.p99_ms:.1f} ms at the 99th percentile, and the server "
        f"answers {alone.examples_per_second:.0f} examples a second.",
        threads,
        f"A request waits {timeout_ms:g} ms for others, then for the run before it, then for its own: at most "
        f"{estimate_ms(chosen.p99_ms, timeout_ms):.1f} ms.",
    ]
    if chosen.calls < _ENOUGH_CALLS:
        reasons.append(f"Only {chosen.calls} calls were answered: their 99th percentile is the longest latency.")
    if larger and bound_ms is not None:
        least = min(estimate_ms(point.p99_ms, timeout_ms) for point in larger)
        best = max(point.examples_per_second for point in larger)
        reasons.append(
            f"With larger batches, requests would take {least:.1f} ms or more by the same estimate, and the server "
            f"would answer up to {best:.0f} examples a second; the bound is {bound_ms:g} ms."
        )
    elif larger:
        reasons.append("Larger batches bring at most 5% more examples a second.")
    return tuple(reasons)
