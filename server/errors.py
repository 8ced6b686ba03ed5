"""The one exception of the server: an answer other than OK, as a status code and a message."""

import grpc

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request, a load or a configuration that the server answers with an error status.

    The messages are those of tensorflow_model_server 2.20 wherever it has one for the case.
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
    """Make a ServingError with the code INVALID_ARGUMENT, much the most frequent one."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def fault(error: Exception) -> ServingError:
    """Make a ServingError of an exception that nobody foresaw, so that it ends a request or a load and not a thread."""
    return ServingError(grpc.StatusCode.INTERNAL, f"The stand-in server failed: {error!r}")


def status_code(number: int) -> grpc.StatusCode:
    """Return the status code with a number, UNKNOWN for a number that none has."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)


def from_tensorflow(error_code: int, message: str) -> ServingError:
    """Make a ServingError of the number and message of a TensorFlow OpError."""
    return ServingError(status_code(error_code), message)
