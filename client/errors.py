"""What the client raises. Every message is one sentence that a command line can print."""

import grpc


class ClientError(Exception):
    """Any failure that the client foresees."""


class InputError(ClientError, ValueError):
    """What was to be sent cannot be: a wrong name, shape, dtype, value or file."""


class DecodeError(ClientError, ValueError):
    """What was received, or read from a file, is not what it says it is."""


class ServerError(ClientError):
    """The server answered a call with an error; `code` is its gRPC status code."""

    def __init__(self, message: str, code: grpc.StatusCode) -> None:
        super().__init__(message)
        self.code = code


class UnreachableError(ServerError):
    """No server, or no answer, within the deadline."""
