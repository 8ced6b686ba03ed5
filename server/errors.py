"""The only exception of the server: an answer other than OK, as a status code and a message."""

from typing import Any

import grpc

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request, a load or a configuration that the server answers with an error status.

    The messages are those of tensorflow_model_server 2.20 if it has one for the case.

    Attributes:
        code: the status code.
        message: the message.

    Example:
        >>> invalid_argument("Missing ModelSpec").number
        3
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def number(self) -> int:
        """The code as the number that TensorFlow and gRPC share, for example 3 for INVALID_ARGUMENT."""
        number: int = self.code.value[0]
        return number


def invalid_argument(message: str) -> ServingError:
    """Return a ServingError with the code INVALID_ARGUMENT, by far the most frequent one."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def fault(error: Exception) -> ServingError:
    """Return a ServingError for an unexpected exception, so that it ends a request or a load but not a thread."""
    return ServingError(grpc.StatusCode.INTERNAL, f"The stand-in server failed: {error!r}")


def status_code(number: int) -> grpc.StatusCode:
    """Return the status code with this number, or UNKNOWN if there is none."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def from_tensorflow(error: Any) -> ServingError:
    """Return a ServingError with the code and message of a TensorFlow OpError."""
    return ServingError(status_code(error.error_code), error.message)
