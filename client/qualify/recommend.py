"""Which batching settings to export with, from what was measured, for a bound on the 99th percentile."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from client.qualify.points import Point

# Of two settings that differ by no more, the smaller one is taken: it answers sooner.
_ENOUGH = 0.95
# A size is worth a shape of its own if its run is so much shorter than the next larger one's.
_SHORTER = 0.9
# Batches under way at once are runs that wait for the device, not runs that it does.
_MOST_THREADS = 16
_ENOUGH_CALLS = 100


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """Options of `export-model`, and why.

    `expected_p99_ms` is the estimate that was held against the bound. `why` holds sentences.
    """

    max_batch_size: int
    allowed_batch_sizes: tuple[int, ...]
    batch_timeout_micros: int
    num_batch_threads: int
    expected_p99_ms: float
    bound_ms: float | None
    why: tuple[str, ...]

    @property
    def options(self) -> str:
        """The options as a command line takes them."""
        sizes = " ".join(f"--allowed-batch-size {size}" for size in self.allowed_batch_sizes)
        return (
            f"--max-batch-size {self.max_batch_size} {sizes} --batch-timeout-micros {self.batch_timeout_micros} "
            f"--num-batch-threads {self.num_batch_threads}"
        )


def estimate_ms(run_p99_ms: float, timeout_ms: float) -> float:
    """Return how long a request takes at worst: it waits for others, for a run that has just begun, and for its own.

    Example:
        >>> estimate_ms(10.0, 2.0)
        22.0
    """
    return timeout_ms + 2 * run_p99_ms


def recommend(
    alone: Sequence[Point], several: Callable[[int], Sequence[Point]], bound_ms: float | None
) -> Recommendation | None:
    """Recommend settings.

    Args:
        alone: the points of one caller, by rising batch size, from 1 on.
        several: measures more callers at a batch size.
        bound_ms: the bound on the 99th percentile, or None for the best throughput.

    Returns:
        The recommendation, or None if no size keeps the bound.
    """
    runs = {point.batch: point for point in alone if point.calls and not point.errors}
    if not runs:
        return None
    timeout_ms = _timeout_ms(runs, bound_ms)

    def keeps(point: Point) -> bool:
        return bound_ms is None or estimate_ms(point.p99_ms, timeout_ms) <= bound_ms

    kept = [point for point in runs.values() if keeps(point)]
    if not kept:
        return None
    best = max(point.examples_per_second for point in kept)
    size = min(point.batch for point in kept if point.examples_per_second >= _ENOUGH * best)
    at_once = [runs[size], *(p for p in several(size) if p.callers > 1 and p.calls and not p.errors and keeps(p))]
    at_once = [point for point in at_once if point.callers <= _MOST_THREADS]
    most = max(point.examples_per_second for point in at_once)
    chosen = min(
        (point for point in at_once if point.examples_per_second >= _ENOUGH * most), key=lambda point: point.callers
    )
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
    """Return how long to wait for others: half of what a lone request takes, and at most a tenth of the bound."""
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
    said = [
        f"A run of {size} takes {alone.p99_ms:.1f} ms at the 99th percentile alone, and answers "
        f"{alone.examples_per_second:.0f} examples a second.",
        _threads_told(chosen),
        f"A request waits {timeout_ms:g} ms for others, then for a run that has begun, then for its own: "
        f"{estimate_ms(chosen.p99_ms, timeout_ms):.1f} ms.",
    ]
    if chosen.calls < _ENOUGH_CALLS:
        said.append(f"Only {chosen.calls} calls were answered: their 99th percentile is the longest of them.")
    if larger and bound_ms is not None:
        least = min(estimate_ms(point.p99_ms, timeout_ms) for point in larger)
        best = max(point.examples_per_second for point in larger)
        said.append(
            f"Larger batches would take {least:.1f} ms or more by the same estimate, and answer up to {best:.0f} "
            f"examples a second; the bound is {bound_ms:g} ms."
        )
    elif larger:
        said.append("Larger batches bring no more than 5% more.")
    return tuple(said)


def _threads_told(chosen: Point) -> str:
    if chosen.callers == 1:
        return "Several at once bring no more than 5% more, or break the bound."
    rate = f"{chosen.examples_per_second:.0f}"
    return f"{chosen.callers} at once bring that to {rate}; more bring no more than 5%, or break the bound."
