"""How a client's requests reach a server: over gRPC, or through a custom object (see `client.testing`)."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import grpc
import grpc.aio

from client.rpc.channel import ChannelOptions, as_server_error, open_channel


class Transport(Protocol):
    """What ServingClient sends its requests through."""

    def send(self, method: str, request: bytes, timeout: float) -> bytes:
        """Send a serialized request to a gRPC method and return the serialized response.

        Args:
            method: the full name, as in "/tensorflow.serving.PredictionService/Predict".
            request: the serialized request message.
            timeout: how long to wait for the response, in seconds.

        Raises:
            ServerError: if the server answered with an error; UnreachableError if there was no answer in time.
        """

    def close(self) -> None:
        """End the connection."""


class AsyncTransport(Protocol):
    """What AsyncServingClient sends its requests through: `Transport`, to be awaited."""

    async def send_async(self, method: str, request: bytes, timeout: float) -> bytes:
        """Send a serialized request and return the serialized response; see `Transport.send`."""

    async def close_async(self) -> None:
        """End the connection."""


class GrpcTransport:
    """Sends requests over a gRPC channel, with the headers of its options."""

    def __init__(self, addresses: Sequence[str], options: ChannelOptions) -> None:
        self._address = ",".join(addresses)
        self._headers = options.headers()
        self._channel = open_channel(addresses, options)
        self._methods: dict[str, Any] = {}

    def callable(self, method: str) -> Any:
        """Return gRPC's callable for a method, which takes and returns bytes, and the headers to call it with."""
        found = self._methods.get(method)
        if found is None:
            found = self._methods[method] = self._channel.unary_unary(method)
        return found, self._headers

    def send(self, method: str, request: bytes, timeout: float) -> bytes:
        """Send a request; see `Transport.send`."""
        send, headers = self.callable(method)
        try:
            response: bytes = send(request, timeout=timeout, metadata=headers)
        except grpc.RpcError as error:
            raise as_server_error(self._address, timeout, error) from error
        return response

    def close(self) -> None:
        """Close the channel; requests sent afterward fail."""
        self._channel.close()


class AsyncGrpcTransport:
    """GrpcTransport for asyncio.

    A gRPC channel belongs to the event loop in which it was opened. So the first request opens it, and the first
    request in another loop opens a new one.
    """

    def __init__(self, addresses: Sequence[str], options: ChannelOptions) -> None:
        self._addresses = addresses
        self._options = options
        self._headers = options.headers()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: Any = None
        self._methods: dict[str, Any] = {}

    async def send_async(self, method: str, request: bytes, timeout: float) -> bytes:
        """Send a request; see `Transport.send`."""
        if self._loop is not (loop := asyncio.get_running_loop()):
            self._channel, self._methods = open_channel(self._addresses, self._options, grpc.aio), {}
            self._loop = loop
        send = self._methods.get(method)
        if send is None:
            send = self._methods[method] = self._channel.unary_unary(method)
        try:
            response: bytes = await send(request, timeout=timeout, metadata=self._headers)
        except grpc.RpcError as error:
            raise as_server_error(",".join(self._addresses), timeout, error) from error
        return response

    async def close_async(self) -> None:
        """Close the channel; requests sent afterward fail."""
        if self._channel is not None:
            await self._channel.close()
