"""The latency of single requests, sent to both versions in turn: what disturbs the server disturbs both."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.client import ServingClient
from client.comparison.results import LatencyChange
from client.rpc.calls import Call

# Calls of each version: for the warm-up, if no ratio is required, in each round, and at most.
_WARMUP, _GLANCE, _ROUND, _MOST = 3, 20, 50, 400
_RESAMPLES = 500


def latency_change(
    client: ServingClient, before: Sequence[Call[Any]], after: Sequence[Call[Any]], allowed: float | None
) -> LatencyChange:
    """Measure until it is clear whether the ratio of the medians is allowed, or until _MOST calls were made."""
    pairs: list[tuple[float, float]] = []
    for number in range(-_WARMUP, _MOST):
        one, other = before[number % len(before)], after[number % len(after)]
        # Each of the two goes first as often as the other.
        if number % 2:
            second, first = _seconds(client, other), _seconds(client, one)
        else:
            first, second = _seconds(client, one), _seconds(client, other)
        if number >= 0:
            pairs.append((first, second))
        if len(pairs) == _GLANCE and allowed is None:
            break
        if len(pairs) % _ROUND == 0 and pairs and allowed is not None and _is_clear(pairs, allowed):
            break
    times = np.array(pairs)
    old, new = np.median(times, axis=0)
    low, high = _interval(times)
    passed = None if allowed is None else bool(high <= allowed or (low <= allowed and new / old <= allowed))
    return LatencyChange(
        calls=len(pairs),
        before_ms=float(old * 1e3),
        after_ms=float(new * 1e3),
        ratio=float(new / old),
        low=low,
        high=high,
        allowed=allowed,
        passed=passed,
    )


def _is_clear(pairs: Sequence[tuple[float, float]], allowed: float) -> bool:
    low, high = _interval(np.array(pairs))
    return high <= allowed or low > allowed


def _interval(times: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95% confidence interval of the ratio of the medians, from a paired bootstrap."""
    random = np.random.default_rng(0)
    old, new = np.median(times[random.integers(len(times), size=(_RESAMPLES, len(times)))], axis=1).T
    low, high = np.percentile(new / old, [2.5, 97.5])
    return float(low), float(high)


def _seconds(client: ServingClient, call: Call[Any]) -> float:
    start = time.perf_counter()
    client.transport.send(call.method, call.request, client.timeout)
    return time.perf_counter() - start
