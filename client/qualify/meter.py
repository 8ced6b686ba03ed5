"""Measure windows of load at one place after another, until the time is up."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import grpc

from client.bench.load import BenchResult
from client.bench.loops import Load
from client.bench.processes import Send
from client.bench.requests import BenchRequest, sample_requests, within_memory
from client.errors import UnreachableError
from client.qualify.points import Place, Point, done, point_of
from client.qualify.search import SHORT, WARMUP
from client.rpc.metadata import ExportInfo, Signature, Target
from client.samples.golden import Sample
from signatures.contract import names


@dataclass(frozen=True)
class Subject:
    """What is sent: golden samples, with the exported k and min_score for each example, as every server takes them."""

    target: Target
    signature: Signature
    samples: Sequence[Sample]
    info: ExportInfo

    def requests(self, batch: int) -> list[BenchRequest]:
        """Return requests of `batch` examples each, as many as memory allows."""
        limits = self.signature.limits
        ks = [self.info.k] if names.K in limits else []
        min_score = self.info.min_score if names.MIN_SCORE in limits else None
        requests = sample_requests(self.target, self.signature, self.samples, ks, batch, min_score)
        return within_memory(requests)[0]


@dataclass
class Meter:
    """Measures a subject.

    Attributes:
        window: how many seconds a window takes.
        deadline: when the last window must have ended, on the monotonic clock.
        say: reports progress.
    """

    send: Send
    subject: Subject
    window: float
    deadline: float
    say: Callable[[str], None]
    _requests: dict[int, list[BenchRequest]] = field(default_factory=dict)

    def has_time(self, windows: float = 1.0) -> bool:
        """Return whether this number of windows ends before the deadline."""
        return time.monotonic() + windows * self.window <= self.deadline

    def screen(self, place: Place) -> float | None:
        """Measure a short window; return the examples per second, 0 if calls failed, None if the time is up."""
        if not self.has_time(SHORT + WARMUP):
            return None
        result = self._measure(place, SHORT, WARMUP)
        self.say(f"{place}: {result.examples_per_second:.0f} examples/s")
        return 0.0 if result.errors else result.examples_per_second

    def measure(self, place: Place) -> BenchResult | None:
        """Measure a whole window; return None if the time is up."""
        if not self.has_time(1 + WARMUP):
            return None
        result = self._measure(place, 1, WARMUP)
        self.say(f"{place}: {result.examples_per_second:.0f} examples/s, p99 {result.percentiles_ms['99']:.1f} ms")
        return result

    def settle(self, place: Place) -> Point | None:
        """Measure windows until the rate has settled; return None if there is no time for one."""
        windows: list[BenchResult] = []
        while not done(windows):
            window = self.measure(place)
            if window is None:
                break
            windows.append(window)
            if not window.answered:
                break
        return point_of(place, windows) if windows else None

    def _measure(self, place: Place, share: float, warmup: float) -> BenchResult:
        if place.batch not in self._requests:
            # Only the last size is kept: large batches take much memory.
            self._requests = {place.batch: self.subject.requests(place.batch)}
        load = Load(concurrency=place.callers, duration=share * self.window, warmup=warmup * self.window)
        result = self.send(self._requests[place.batch], load)
        if not (result.answered or result.errors or result.interrupted):
            # A call takes longer than a window: count whole calls instead.
            result = self.send(self._requests[place.batch], replace(load, warmup=0.0, calls=place.callers))
        if result.interrupted:
            raise KeyboardInterrupt
        if not result.answered and set(result.errors) == {grpc.StatusCode.UNAVAILABLE.name}:
            raise UnreachableError(f"the server stopped answering, at {place}", grpc.StatusCode.UNAVAILABLE)
        return result
