"""The server's metrics, and the page from which Prometheus reads them.

Names, labels, buckets and text follow tensorflow_model_server 2.20: monitoring/sampler.h and prometheus_exporter.cc.
Names start with a colon there and counters do not end in `_total`, which no Prometheus library writes.
"""

import bisect
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc

_RUNTIME = "TF1"


class Counter:
    """A number for each combination of label values that only grows."""

    kind = "counter"

    def __init__(self, name: str, *labels: str) -> None:
        self.name = name
        self._labels = labels
        self._cells: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, amount: int, *values: str) -> None:
        """Add to the cell with these label values."""
        with self._lock:
            self._cells[values] = self._cells.get(values, 0) + amount

    def lines(self, shown: str) -> Iterator[str]:
        """Yield each cell as a line of the page, under the name that the page shows."""
        with self._lock:
            cells = dict(self._cells)
        for values, amount in cells.items():
            yield f"{shown}{{{','.join(_pairs(self._labels, values))}}} {amount}"


class Sampler:
    """A histogram for each combination of label values; its buckets grow by a factor."""

    kind = "histogram"

    def __init__(self, name: str, *labels: str, scale: float, growth: float, buckets: int) -> None:
        self.name = name
        self._labels = labels
        self._limits = [scale]
        while len(self._limits) < buckets:
            self._limits.append(self._limits[-1] * growth)
        self._cells: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, sample: float, *values: str) -> None:
        """Put a sample into the histogram with these label values."""
        bucket = bisect.bisect_right(self._limits, sample)
        with self._lock:
            self._cells.setdefault(values, [0] * (len(self._limits) + 1))[bucket] += 1
            self._sums[values] = self._sums.get(values, 0.0) + sample

    def lines(self, shown: str) -> Iterator[str]:
        """Yield each histogram as lines of the page, under the name that the page shows."""
        with self._lock:
            cells = {values: (list(counts), self._sums[values]) for values, counts in self._cells.items()}
        limits = [*(f"{limit:g}" for limit in self._limits), "+Inf"]
        for values, (counts, total) in cells.items():
            pairs = _pairs(self._labels, values)
            so_far = 0
            for limit, count in zip(limits, counts, strict=True):
                so_far += count
                bucket = ",".join([*pairs, f'le="{limit}"'])
                yield f"{shown}_bucket{{{bucket}}} {so_far}"
            yield f"{shown}_sum{{{','.join(pairs)}}} {total:g}"
            yield f"{shown}_count{{{','.join(pairs)}}} {so_far}"


def _latency(name: str, *labels: str) -> Sampler:
    # From 10 microseconds to some 20 minutes.
    return Sampler(name, *labels, scale=10, growth=1.8, buckets=33)


def _size(name: str, *labels: str) -> Sampler:
    return Sampler(name, *labels, scale=1, growth=2, buckets=14)


def now() -> float:
    """Return the microseconds since a fixed moment."""
    return time.monotonic() * 1e6


class Metrics:
    """Everything that one server counts; times are in microseconds."""

    def __init__(self) -> None:
        serving, batching = "/tensorflow/serving", "/tensorflow/serving/batching_session"
        self.request_count = Counter(f"{serving}/request_count", "model_name", "status")
        self.request_latency = _latency(f"{serving}/request_latency", "model_name", "API", "entrypoint")
        self.runtime_latency = _latency(f"{serving}/runtime_latency", "model_name", "API", "runtime")
        self.model_warmup_latency = _latency(f"{serving}/model_warmup_latency", "model_path", "status")
        self.load_attempt_count = Counter("/tensorflow/cc/saved_model/load_attempt_count", "model_path", "status")
        self.load_latency = Counter("/tensorflow/cc/saved_model/load_latency", "model_path")
        self.queuing_latency = Sampler(
            f"{batching}/queuing_latency", "thread_pool_name", scale=100, growth=1.2, buckets=52
        )
        self.padding_size = _size(f"{batching}/padding_size", "execution_batch_size")
        self.input_batch_size = _size(f"{batching}/input_batch_size")
        self.processed_batch_size = _size(f"{batching}/processed_batch_size")

    def count_request(self, model: str, api: str, entrypoint: str, code: grpc.StatusCode, since: float) -> None:
        """Count a request that arrived at `since` and is answered now. Only times of successful answers are kept."""
        if code is grpc.StatusCode.OK:
            self.request_latency.add(now() - since, model, api, entrypoint)
        self.request_count.add(1, model, code.name)

    def count_run(self, model: str, api: str, since: float) -> None:
        """Count a successful run of a graph that began at `since` and ends now."""
        self.runtime_latency.add(now() - since, model, api, _RUNTIME)

    @contextmanager
    def count_load(self, path: Path) -> Iterator[None]:
        """Count the with statement as an attempt to load a version, which fails if it raises."""
        began, status = now(), "fail"
        try:
            yield
            status = "success"
        finally:
            self.load_attempt_count.add(1, str(path), status)
            self.load_latency.add(round(now() - began), str(path))

    def page(self) -> str:
        """Return all metrics in Prometheus' text format."""
        metrics = [value for value in vars(self).values() if isinstance(value, Counter | Sampler)]
        lines = []
        for metric in sorted(metrics, key=lambda metric: metric.name):
            shown = re.sub("[^a-zA-Z0-9_]", ":", metric.name)
            lines.append(f"# TYPE {shown} {metric.kind}")
            lines.extend(metric.lines(shown))
        return "\n".join(lines) + "\n"


def _pairs(labels: tuple[str, ...], values: tuple[str, ...]) -> list[str]:
    return [f'{label}="{_escaped(value)}"' for label, value in zip(labels, values, strict=True)]


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
