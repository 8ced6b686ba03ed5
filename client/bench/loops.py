"""The two ways to send requests: from callers that wait for their answers, or at a fixed rate."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from client.bench.histogram import Histogram, merged
from client.bench.requests import BenchRequest
from client.client import ServingClient
from client.errors import InputError
from client.rpc.calls import CLASSIFY, PREDICT
from client.rpc.messages import ClassificationResponse, PredictResponse
from client.rpc.transport import GrpcTransport

_RESPONSES = {PREDICT: PredictResponse, CLASSIFY: ClassificationResponse}


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load to send: from a number of concurrent callers, or at a number of requests per second.

    Attributes:
        concurrency: the number of callers; None for an open loop.
        rate: the requests per second; None for a closed loop.
        poisson: whether the requests of an open loop leave at random times, as those of many users do.
        duration: how many seconds to measure, after the warm-up.
        warmup: how many seconds to leave out first.
        calls: end after this many calls instead, not counting the warm-up.
    """

    concurrency: int | None = None
    rate: float | None = None
    poisson: bool = False
    duration: float = 10.0
    warmup: float = 1.0
    calls: int | None = None

    @property
    def name(self) -> str:
        """The name by which the load is shown and matched with a baseline."""
        if self.rate is None:
            return f"{self.concurrency} at once"
        return f"{self.rate:g} a second" + (" at random" if self.poisson else "")


@dataclass
class CallTally:
    """The results of one caller. Only that caller writes to it.

    `scheduled` is when the last request of an open loop was due, in seconds after the warm-up.
    """

    latencies: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    examples: int = 0
    scheduled: float = 0.0

    def answered(self, request: BenchRequest, response: bytes, seconds: float) -> None:
        """Count an answer."""
        kind = _RESPONSES[request.method]
        try:
            version = kind.FromString(response).model_spec.version.value
        except DecodeError:
            self.errors[f"not a {kind.DESCRIPTOR.name}"] += 1
            return
        self.latencies.record(seconds)
        self.versions[str(version)] += 1
        self.examples += request.examples


@dataclass(frozen=True)
class Measurement:
    """The counts, the duration in seconds, and the share of a core that sending and counting took."""

    tally: CallTally
    seconds: float
    busy: float
    interrupted: bool


@dataclass
class Stop:
    """Ends a load when it is called, or at Ctrl-C. Later answers are not counted."""

    client: ServingClient
    called: bool = False

    def wait(self, until: float) -> bool:
        """Wait until a time of the performance counter, or until the load ends; return whether it has ended."""
        # Not with an Event: Ctrl-C may leave its lock locked.
        while not self.called and (left := until - time.perf_counter()) > 0:
            time.sleep(min(left, 0.1))
        return self.called

    def __call__(self) -> None:
        """End the load: close the client, and with it all open calls."""
        self.called = True
        self.client.close()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        if kind is KeyboardInterrupt:
            self()
        # A closed channel raises ValueError.
        return kind is KeyboardInterrupt or (kind is ValueError and self.called)


def send_load(client: ServingClient, requests: Sequence[BenchRequest], load: Load, stop: Stop) -> Measurement:
    """Send requests in turn and return the measurements, even if the load is interrupted."""
    if not isinstance(client.transport, GrpcTransport):
        raise InputError("load is sent over gRPC: create the client without a transport of your own")
    send = _sender(client, client.transport, requests, load)
    cpu, started = time.process_time(), time.perf_counter()
    tallies, seconds = (_closed if load.rate is None else _open)(send, requests, load, stop)
    busy = (time.process_time() - cpu) / (time.perf_counter() - started)
    return Measurement(merged_tally(tallies), seconds, busy, stop.called)


def merged_tally(tallies: Sequence[CallTally]) -> CallTally:
    """Return one tally with the counts of several."""
    return CallTally(
        latencies=merged(tally.latencies for tally in tallies),
        late=merged(tally.late for tally in tallies),
        errors=sum((tally.errors for tally in tallies), Counter()),
        versions=sum((tally.versions for tally in tallies), Counter()),
        examples=sum(tally.examples for tally in tallies),
        scheduled=max(tally.scheduled for tally in tallies),
    )


def _sender(
    client: ServingClient, transport: GrpcTransport, requests: Sequence[BenchRequest], load: Load
) -> Callable[[BenchRequest], Any]:
    """Return a function that sends a request and returns the response, or gRPC's future in an open loop."""
    senders = {}
    for method in {request.method for request in requests}:
        call, headers = transport.callable(method)
        send = call if load.rate is None else call.future
        senders[method] = partial(send, timeout=client.timeout, metadata=headers)
    return lambda request: senders[request.method](request.content)


def _closed(
    send: Callable[[BenchRequest], bytes], requests: Sequence[BenchRequest], load: Load, stop: Stop
) -> tuple[list[CallTally], float]:
    tallies = [CallTally() for _ in range(load.concurrency or 1)]
    begin = time.perf_counter() + load.warmup
    end = begin + load.duration
    turn, counted = count(), count()

    def call(tally: CallTally) -> None:
        while not stop.called:
            start = time.perf_counter()
            if start >= end if load.calls is None else start >= begin and next(counted) >= load.calls:
                return
            request = requests[next(turn) % len(requests)]
            try:
                response = send(request)
            except (grpc.RpcError, ValueError) as error:
                if stop.called:  # the call was cut off, or never sent
                    return
                if not isinstance(error, grpc.RpcError):
                    raise
                if start >= begin:
                    tally.errors[error.code().name] += 1
                continue
            if start >= begin:
                tally.answered(request, response, time.perf_counter() - start)

    threads = [threading.Thread(target=call, args=(tally,), daemon=True) for tally in tallies]
    with stop:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for thread in threads:
        if thread.ident is not None:
            thread.join()
    return tallies, max(time.perf_counter() - begin, 1e-9)


def _open(
    send: Callable[[BenchRequest], Any], requests: Sequence[BenchRequest], load: Load, stop: Stop
) -> tuple[list[CallTally], float]:
    # Answers arrive on gRPC's threads, which share one tally behind a lock.
    tally, lock = CallTally(), threading.Lock()
    outstanding = threading.Semaphore(0)
    begin, sent = time.perf_counter() + 0.01 + load.warmup, 0

    def done(request: BenchRequest, intended: float, future: Any) -> None:
        seconds = time.perf_counter() - intended
        error = future.exception()
        with lock:
            if intended < begin or stop.called:
                pass
            elif error is None:
                tally.answered(request, future.result(), seconds)
            else:
                tally.errors[error.code().name if isinstance(error, grpc.RpcError) else "CANCELLED"] += 1
        outstanding.release()

    with stop:
        for number, offset in enumerate(_departures(load)):
            request, intended = requests[number % len(requests)], begin + offset
            if stop.wait(intended):
                break
            if offset >= 0:
                tally.late.record(time.perf_counter() - intended)
                tally.scheduled = offset
            future = send(request)
            future.add_done_callback(partial(done, request, intended))
            sent += 1
        for _ in range(sent):
            outstanding.acquire()
    with lock:  # an answer that is being counted when Ctrl-C arrives is counted completely
        return [tally], max(time.perf_counter() - begin, 1e-9)


def _departures(load: Load) -> Iterator[float]:
    """Yield when each request of an open loop leaves, in seconds after the warm-up."""
    rate = load.rate or 1.0
    random = np.random.default_rng()
    warm = round(load.warmup * rate)
    measured = load.calls if load.calls is not None else max(1, round(load.duration * rate))
    if not load.poisson:
        yield from ((number - warm) / rate for number in range(warm + measured))
        return
    offset, left = -load.warmup, measured
    # The number of random arrivals in a given time is random, too; only `calls` fixes it.
    while left if load.calls is not None else offset < load.duration:
        yield offset
        left -= offset >= 0
        offset += random.exponential(1 / rate)
