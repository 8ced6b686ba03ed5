"""The blocking client."""

import functools
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from client import base
from client.errors import ClientError
from client.recording.recorder import Recorder
from client.rpc.calls import Call
from client.rpc.sequences import CallSequence, Pause
from client.rpc.transport import GrpcTransport, Transport

T = TypeVar("T")
P = ParamSpec("P")


def _blocking(
    method: Callable[Concatenate[base.BaseClient[Any], P], CallSequence[T]], *, recorded: bool = False
) -> Callable[Concatenate["ServingClient", P], T]:
    """Return a method that makes the calls of a sequence and returns the result of the sequence."""

    @functools.wraps(method)
    def call(self: "ServingClient", /, *arguments: P.args, **keywords: P.kwargs) -> T:
        return self.run(method(self, *arguments, **keywords), self.record if recorded else None)

    return call


class ServingClient(base.BaseClient[Transport]):
    """A client for one model on a TensorFlow Serving server, over gRPC; a context manager.

    Its methods raise InputError if a request cannot be sent, UnreachableError if no answer came in time, ServerError if
    the server answered with an error, and DecodeError if the answer cannot be read. All are ClientErrors.

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
        >>> with ServingClient("localhost:8500", "digits", transport=transport) as client:
        ...     client.wait_until_ready()
        ...     client.predict(images, k=2)["probabilities"].shape
        (1, 2)
    """

    _grpc_transport = GrpcTransport

    wait_until_ready = _blocking(base.wait_until_ready)
    status = _blocking(base.status)
    metadata = _blocking(base.metadata)
    info = _blocking(base.info)
    predict = _blocking(base.predict, recorded=True)
    classify = _blocking(base.classify, recorded=True)
    reload = _blocking(base.reload)
    check = _blocking(base.check)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection after writing what was recorded. Calls made afterward fail."""
        self.transport.close()
        if self.record is not None:
            self.record.flush()

    def run(self, sequence: CallSequence[T], record: Recorder | None = None) -> T:
        """Make the calls that a sequence yields, record them, and return the result of the sequence."""
        try:
            call = next(sequence)
            while True:
                try:
                    answer = self._perform(call, record)
                except ClientError as error:
                    call = sequence.throw(error)
                else:
                    call = sequence.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _perform(self, call: Call[Any] | Pause, record: Recorder | None) -> Any:
        if isinstance(call, Pause):
            return time.sleep(call.seconds)
        response = self.transport.send(call.method, call.request, call.seconds_left(self.timeout))
        if record is not None:
            record.offer(call.method, call.request, response)
        return call.read(response)
