"""Load from several processes: one Python process sends a few thousand requests a second at most."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from typing import Any, Self, TypeAlias

from client.bench.load import NO_RETRY, BenchResult, measure, result_of
from client.bench.loops import Load, Measurement, Stop, send_load
from client.bench.requests import BenchRequest
from client.client import ServingClient
from client.errors import ClientError
from client.rpc.channel import ChannelOptions

# Sends a load of requests.
Send: TypeAlias = Callable[[Sequence[BenchRequest], Load], BenchResult]

_START, _STOP = "start", "stop"


@dataclass(frozen=True)
class Server:
    """The server to send a load to, and how to connect to it."""

    address: str
    model: str
    timeout: float
    options: ChannelOptions

    def open(self) -> ServingClient:
        """Return a client that does not retry."""
        options = replace(self.options, retry=NO_RETRY)
        return ServingClient(self.address, self.model, timeout=self.timeout, options=options)


@contextmanager
def sender(server: Server, processes: int) -> Iterator[tuple[ServingClient, Send]]:
    """Return a client without retries, and a function that sends load from this process or from several others."""
    with server.open() as client:
        if processes == 1:
            yield client, partial(measure, client)
        else:
            with Workers(server, processes) as workers:
                yield client, workers.measure


class Workers:
    """Processes that send load together. They start with the first load, and are kept for the next ones."""

    def __init__(self, server: Server, count: int) -> None:
        self._server, self._count = server, count
        self._processes: list[Any] = []
        self._pipes: list[Any] = []
        self._requests: Sequence[BenchRequest] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def measure(self, requests: Sequence[BenchRequest], load: Load) -> BenchResult:
        """Send a load from all processes, and return the combined result.

        Ctrl-C ends the load early, as in `client.bench.load.measure`, and ends the processes.
        """
        if not self._processes:
            self._start()
        if requests is not self._requests:
            self._requests = requests
            for pipe in self._pipes:
                pipe.send(requests)
        shares = _shares(load, self._count)
        pipes = self._pipes[: len(shares)]
        for pipe, share in zip(pipes, shares, strict=True):
            pipe.send(share)
        for pipe in pipes:
            _received(pipe)
        return result_of(load, _gathered(pipes))

    def _start(self) -> None:
        # A forked process would inherit gRPC's locks, but not the threads that hold them.
        context = multiprocessing.get_context("spawn")
        # Otherwise the first process starts this tracker, which unblocks Ctrl-C.
        resource_tracker.ensure_running()
        with _ctrl_c_blocked():
            for _ in range(self._count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, self._server), daemon=True)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(ours)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Delay Ctrl-C until the end of the context.

    A terminal sends it to all processes. Those started here inherit the mask, so that only this process stops them. The
    mask covers one thread; the handler covers the others.
    """
    received: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt


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
    """Start the load in all processes at once, and return what they measured. Ctrl-C ends it early."""
    parts: dict[int, Measurement] = {}
    try:
        for pipe in pipes:
            pipe.send(_START)
        for number, pipe in enumerate(pipes):
            parts[number] = _received(pipe)
    except KeyboardInterrupt:
        left = {number: pipe for number, pipe in enumerate(pipes) if number not in parts}
        for pipe in left.values():
            with suppress(OSError):
                pipe.send(_STOP)
        for number, pipe in left.items():
            with suppress(EOFError, OSError):
                if isinstance(part := pipe.recv(), Measurement):
                    parts[number] = part
        if not parts:
            raise
    return list(parts.values())


def _received(pipe: Any) -> Any:
    try:
        message = pipe.recv()
    except (EOFError, OSError) as error:
        raise ClientError("a process that sends load ended too early") from error
    if isinstance(message, ClientError):
        raise message
    return message


def _work(pipe: Any, server: Server) -> None:
    """Handle messages: store requests, prepare a load, start it, stop it."""
    requests: Sequence[BenchRequest] = ()
    load = Load()
    with suppress(EOFError, OSError), server.open() as client:
        stop = Stop(client)
        while True:
            message = pipe.recv()
            if message == _STOP:
                stop()
            elif message == _START:
                threading.Thread(target=_send, args=(pipe, client, requests, load, stop), daemon=True).start()
            elif isinstance(message, Load):
                load = message
                # Connect before the load starts.
                pipe.send(_result_of(client.status))
            else:
                requests = message


def _send(pipe: Any, client: ServingClient, requests: Sequence[BenchRequest], load: Load, stop: Stop) -> None:
    pipe.send(_result_of(partial(send_load, client, requests, load, stop)))


def _result_of(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or a ClientError that explains why there is none."""
    try:
        return call()
    except ClientError as error:
        return error
    except Exception as error:
        return ClientError(str(error) or repr(error))
