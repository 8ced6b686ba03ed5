"""Send load to a server in a closed or an open loop, and measure its latency and throughput.

Closed loop: a number of callers each send their next request when the previous one has been answered. A server that
stalls then receives fewer requests, and looks better than users find it. Open loop: requests are sent at a fixed rate,
no matter what comes back. Latency counts from the moment when each request *should* have been sent, so that a stall
shows in all requests that it delayed.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from client.bench.histogram import Histogram, merged
from client.bench.requests import BenchRequest
from client.client import ServingClient
from client.errors import InputError
from client.rpc.calls import CLASSIFY, PREDICT
from client.rpc.channel import Retry
from client.rpc.messages import ClassificationResponse, PredictResponse
from client.rpc.transport import GrpcTransport

PERCENTILES = (50.0, 75.0, 90.0, 95.0, 99.0, 99.9)

_RESPONSES = {PREDICT: PredictResponse, CLASSIFY: ClassificationResponse}
# No retries: refused requests are counted, not sent again.
NO_RETRY = Retry(attempts=1)


@dataclass(frozen=True, kw_only=True)
class Load:
    """The load to send: by a number of callers at once, or at a number of requests per second.

    Attributes:
        concurrency: the number of callers; None for an open loop.
        rate: the requests per second; None for a closed loop.
        duration: how many seconds to measure, after the warm-up.
        warmup: how many seconds to leave out first.
        calls: end after this many calls instead, not counting the warm-up.
    """

    concurrency: int | None = None
    rate: float | None = None
    duration: float = 10.0
    warmup: float = 1.0
    calls: int | None = None

    @property
    def name(self) -> str:
        """The name by which the load is shown and matched with a baseline."""
        return f"{self.concurrency} at once" if self.rate is None else f"{self.rate:g} a second"


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """The result of one load. Latencies are in milliseconds and cover only calls that were answered.

    `busy` is the share of one core that the load generator used. `late_ms` is how late 99% of the requests were sent at
    most (open loop). `limits` holds sentences that say if the generator was measured and not the server.
    `interrupted` means that Ctrl-C ended the load; the result covers the calls answered until then.
    """

    load: str
    seconds: float
    answered: int
    calls_per_second: float
    examples_per_second: float
    mean_ms: float
    percentiles_ms: dict[str, float]
    longest_ms: float
    errors: dict[str, int]
    versions: dict[str, int]
    busy: float
    late_ms: float
    limits: tuple[str, ...]
    interrupted: bool


@dataclass
class CallTally:
    """The results of one caller. Only that caller writes to it."""

    latencies: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    errors: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)
    examples: int = 0

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


@dataclass
class Stop:
    """Tells whether Ctrl-C ended a load. Later answers are not counted."""

    client: ServingClient
    wanted: bool = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        if kind is not KeyboardInterrupt:
            return False
        self.wanted = True
        self.client.close()
        return True


def measure(client: ServingClient, requests: Sequence[BenchRequest], load: Load) -> BenchResult:
    """Send requests in turn and return the measurements. Ctrl-C ends it early, closes the client and all open calls.

    Args:
        client: a client created with NO_RETRY.
        requests: what to send, in turn; see `client.bench.requests`.
        load: how to send them.
    """
    if not isinstance(client.transport, GrpcTransport):
        raise InputError("load is sent over gRPC: create the client without a transport of your own")
    send = _sender(client, client.transport, requests, load)
    run = _closed if load.rate is None else _open
    cpu = time.process_time()
    started = time.perf_counter()
    stop = Stop(client)
    tallies, seconds = run(send, requests, load, stop)
    busy = (time.process_time() - cpu) / (time.perf_counter() - started)
    latencies = merged(tally.latencies for tally in tallies)
    late = merged(tally.late for tally in tallies).percentile(99)
    total = latencies.total
    return BenchResult(
        load=load.name,
        seconds=seconds,
        answered=total,
        calls_per_second=total / seconds,
        examples_per_second=sum(tally.examples for tally in tallies) / seconds,
        mean_ms=latencies.mean() * 1e3,
        percentiles_ms={f"{percent:g}": latencies.percentile(percent) * 1e3 for percent in PERCENTILES},
        longest_ms=latencies.largest * 1e3,
        errors=dict(sum((tally.errors for tally in tallies), Counter())),
        versions=dict(sum((tally.versions for tally in tallies), Counter())),
        busy=busy,
        late_ms=late * 1e3,
        limits=tuple(_limits(busy, late, latencies.percentile(50))),
        interrupted=stop.wanted,
    )


def _sender(
    client: ServingClient, transport: GrpcTransport, requests: Sequence[BenchRequest], load: Load
) -> Callable[[BenchRequest], Any]:
    """Return what sends a request and returns the response; for an open loop, gRPC's future of it."""
    senders = {}
    for method in {request.method for request in requests}:
        call, headers = transport.callable(method)
        wanted = call if load.rate is None else call.future
        senders[method] = partial(wanted, timeout=client.timeout, metadata=headers)
    return lambda request: senders[request.method](request.content)


def _closed(
    send: Callable[[BenchRequest], bytes], requests: Sequence[BenchRequest], load: Load, stop: Stop
) -> tuple[list[CallTally], float]:
    tallies = [CallTally() for _ in range(load.concurrency or 1)]
    begin = time.perf_counter() + load.warmup
    end = begin + load.duration
    turn, counted = count(), count()

    def call(tally: CallTally) -> None:
        while not stop.wanted:
            start = time.perf_counter()
            if start >= end if load.calls is None else start >= begin and next(counted) >= load.calls:
                return
            request = requests[next(turn) % len(requests)]
            try:
                response = send(request)
            except (grpc.RpcError, ValueError) as error:
                if stop.wanted:  # it was cut off, or never sent: a closed channel raises ValueError
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
    rate = load.rate or 1.0
    # Answers arrive on gRPC's threads, one tally for all of them behind one lock.
    tally, lock = CallTally(), threading.Lock()
    outstanding = threading.Semaphore(0)
    warm = round(load.warmup * rate)
    total = warm + (load.calls if load.calls is not None else max(1, round(load.duration * rate)))
    begin = time.perf_counter() + 0.01

    def done(future: Any, number: int, intended: float) -> None:
        seconds = time.perf_counter() - intended
        error = future.exception()
        with lock:
            if number < warm or stop.wanted:
                pass
            elif error is None:
                tally.answered(requests[number % len(requests)], future.result(), seconds)
            else:
                tally.errors[error.code().name if isinstance(error, grpc.RpcError) else "CANCELLED"] += 1
        outstanding.release()

    with stop:
        for number in range(total):
            intended = begin + number / rate
            if (wait := intended - time.perf_counter()) > 0:
                time.sleep(wait)
            if number >= warm:
                tally.late.record(time.perf_counter() - intended)
            future = send(requests[number % len(requests)])
            future.add_done_callback(lambda future, number=number, intended=intended: done(future, number, intended))
        for _ in range(total):
            outstanding.acquire()
    with lock:  # an answer that is being counted when Ctrl-C arrives is counted completely
        return [tally], max(time.perf_counter() - (begin + warm / rate), 1e-9)


def _limits(busy: float, late: float, median: float) -> list[str]:
    found = []
    # Python uses one core at a time, no matter how many threads it has.
    if busy > 0.8:
        found.append(
            f"The load generator was busy {busy:.0%} of a core: the server may be faster than this; use more processes."
        )
    if late > max(0.001, 0.1 * median):
        found.append(
            f"Requests left up to {late * 1e3:.1f} ms late, which counts as latency: the sender cannot keep this rate."
        )
    return found
