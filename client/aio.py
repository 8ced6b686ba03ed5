"""The client for asyncio."""

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from client import base
from client.errors import ClientError
from client.recording.recorder import Recorder
from client.rpc.calls import Call
from client.rpc.sequences import CallSequence, Pause
from client.rpc.transport import AsyncGrpcTransport, AsyncTransport

T = TypeVar("T")
P = ParamSpec("P")


def _awaiting(
    method: Callable[Concatenate[base.BaseClient[Any], P], CallSequence[T]], *, recorded: bool = False
) -> Callable[Concatenate["AsyncServingClient", P], Coroutine[Any, Any, T]]:
    """Return a method that awaits the calls of a sequence and returns the result of the sequence."""

    @functools.wraps(method)
    async def call(self: "AsyncServingClient", /, *arguments: P.args, **keywords: P.kwargs) -> T:
        return await self.run(method(self, *arguments, **keywords), self.record if recorded else None)

    return call


class AsyncServingClient(base.BaseClient[AsyncTransport]):
    """ServingClient for asyncio: the same methods with the same arguments and errors, but awaitable.

    Args:
        address: "HOST:PORT", or several, in one string or a list. Several are used in turn.
        model: the name that the model is served under.
        timeout: how many seconds each call may take.
        options: TLS, headers, retries, keepalive and compression.
        transport: sends the requests; by default a gRPC channel to the address. See `client.testing`.
        record: records a share of the requests of `predict` and `classify`. Closing the client flushes the recorder but
            does not close it, because several clients may share it.

    Raises:
        InputError: if an address has no port, or if the timeout is not above 0.

    Example:
        >>> async def ask():
        ...     async with AsyncServingClient("localhost:8500", "digits", transport=transport) as client:
        ...         await client.wait_until_ready()
        ...         return await asyncio.gather(*(client.predict(images, k=k) for k in (1, 2, 3)))
        >>> len(asyncio.run(ask()))
        3
    """

    _grpc_transport = AsyncGrpcTransport

    wait_until_ready = _awaiting(base.wait_until_ready)
    status = _awaiting(base.status)
    metadata = _awaiting(base.metadata)
    info = _awaiting(base.info)
    predict = _awaiting(base.predict, recorded=True)
    classify = _awaiting(base.classify, recorded=True)
    reload = _awaiting(base.reload)
    check = _awaiting(base.check)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection after writing what was recorded."""
        await self.transport.close_async()
        if self.record is not None:
            await asyncio.to_thread(self.record.flush)

    async def run(self, sequence: CallSequence[T], record: Recorder | None = None) -> T:
        """Await the calls that a sequence yields, record them, and return the result of the sequence."""
        try:
            call = next(sequence)
            while True:
                try:
                    answer = await self._perform(call, record)
                except ClientError as error:
                    call = sequence.throw(error)
                else:
                    call = sequence.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    async def _perform(self, call: Call[Any] | Pause, record: Recorder | None) -> Any:
        if isinstance(call, Pause):
            return await asyncio.sleep(call.seconds)
        response = await self.transport.send_async(call.method, call.request, call.seconds_left(self.timeout))
        if record is not None:
            record.offer(call.method, call.request, response)
        return call.read(response)
