"""The errors that the client raises. Every message is one sentence that a command line can print."""

from typing import Any

import grpc


class ClientError(Exception):
    """Any error that the client expects: the base class of all others.

    Example:
        >>> try:
        ...     client.predict(images, signature="missing")
        ... except ClientError as error:
        ...     type(error).__name__
        'InputError'
    """


class InputError(ClientError, ValueError):
    """Something cannot be sent: a wrong name, shape, dtype, value or file.

    Example:
        >>> try:
        ...     ServingClient("localhost", "digits")
        ... except InputError as error:
        ...     print(error)
        the address 'localhost' has no port: write HOST:PORT, as in localhost:8500
    """


class DecodeError(ClientError, ValueError):
    """Something that was received, or read from a file, does not have the format that it should have.

    Example:
        >>> issubclass(DecodeError, ClientError)
        True
    """


class ServerError(ClientError):
    """The server answered a call with an error.

    Attributes:
        code: the gRPC status code.

    Example:
        >>> ServerError("the server is busy", grpc.StatusCode.RESOURCE_EXHAUSTED).code.name
        'RESOURCE_EXHAUSTED'
    """

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are pickled with their message alone, but a process pool must be able to return this one.
        return type(self), (str(self), self.code)


class UnreachableError(ServerError):
    """There was no server, or no answer, within the deadline.

    Example:
        >>> issubclass(UnreachableError, ServerError)
        True
    """
