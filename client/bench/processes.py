"""Load from several processes: one Python process sends a few thousand requests a second at most."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import Any

from client.bench.load import NO_RETRY, BenchResult, result_of
from client.bench.loops import Load, Measurement, Stop, send_load
from client.bench.requests import BenchRequest
from client.client import ServingClient
from client.errors import ClientError
from client.rpc.channel import ChannelOptions

_READY, _STOP = "ready", "stop"


@dataclass(frozen=True)
class Server:
    """Where a load is sent."""

    address: str
    model: str
    timeout: float
    options: ChannelOptions

    def open(self) -> ServingClient:
        """Return a client that does not retry."""
        return ServingClient(
            self.address, self.model, timeout=self.timeout, options=replace(self.options, retry=NO_RETRY)
        )


def measure_in_processes(server: Server, requests: Sequence[BenchRequest], load: Load, count: int) -> BenchResult:
    """Send a load from `count` processes at once, each its share, and return the measurements together.

    Ctrl-C ends it early, as in `client.bench.load.measure`.
    """
    # A forked process would inherit gRPC's threads and locks in whatever state they are.
    context = multiprocessing.get_context("spawn")
    # Started by the first process otherwise, which would end what follows.
    resource_tracker.ensure_running()
    workers, pipes = [], []
    try:
        with _ctrl_c_waits():
            for share in _shares(load, count):
                ours, theirs = context.Pipe()
                worker = context.Process(target=_work, args=(theirs, server, requests, share), daemon=True)
                worker.start()
                theirs.close()
                workers.append(worker)
                pipes.append(ours)
        parts = _gathered(pipes)
    finally:
        for worker in workers:
            worker.join(10)
            worker.kill()
    return result_of(load, parts)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """Hold Ctrl-C back. A process that is started here never sees it: a terminal sends it to all of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _shares(load: Load, count: int) -> list[Load]:
    """Return what each process sends. There are never more processes than callers or calls."""
    count = min(count, load.concurrency or count, load.calls or count)
    return [
        replace(
            load,
            concurrency=None if load.concurrency is None else _part(load.concurrency, number, count),
            rate=None if load.rate is None else load.rate / count,
            calls=None if load.calls is None else _part(load.calls, number, count),
        )
        for number in range(count)
    ]


def _part(whole: int, number: int, count: int) -> int:
    return whole // count + (number < whole % count)


def _gathered(pipes: Sequence[Any]) -> list[Measurement]:
    """Start all processes at once, and return what they measured. Ctrl-C ends them early."""
    found: dict[int, Measurement] = {}
    try:
        for pipe in pipes:
            _received(pipe)
        for pipe in pipes:
            pipe.send(_READY)
        for number, pipe in enumerate(pipes):
            found[number] = _received(pipe)
    except KeyboardInterrupt:
        left = {number: pipe for number, pipe in enumerate(pipes) if number not in found}
        for pipe in left.values():
            with suppress(OSError):
                pipe.send(_STOP)
        for number, pipe in left.items():
            with suppress(EOFError, OSError):
                while number not in found:
                    if isinstance(part := pipe.recv(), Measurement):
                        found[number] = part
        if not found:
            raise
    return list(found.values())


def _received(pipe: Any) -> Any:
    try:
        found = pipe.recv()
    except EOFError as error:
        raise ClientError("a process that sends load ended before it was done") from error
    if isinstance(found, ClientError):
        raise found
    return found


def _work(pipe: Any, server: Server, requests: Sequence[BenchRequest], load: Load) -> None:
    try:
        with server.open() as client:
            client.status()
            stop = Stop(client)
            pipe.send(_READY)
            if pipe.recv() == _STOP:
                return
            threading.Thread(target=_stop_when_told, args=(pipe, stop), daemon=True).start()
            pipe.send(send_load(client, requests, load, stop))
    except ClientError as error:
        pipe.send(ClientError(str(error)))


def _stop_when_told(pipe: Any, stop: Stop) -> None:
    with suppress(EOFError, OSError):
        if pipe.recv() == _STOP:
            stop()
