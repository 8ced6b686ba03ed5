"""A stand-in for tensorflow_model_server: the same gRPC services, REST API, flags and answers, in Python.

Importing this package is fast. TensorFlow is imported when a ModelServer is created.

Example:
    >>> from server import ModelServer, Settings
    >>> with ModelServer(Settings(model_name="digits", model_base_path="/srv/models/digits")) as server:
    ...     channel = grpc.insecure_channel(f"localhost:{server.port}")
"""

from typing import TYPE_CHECKING, Any

from server.settings import Settings

if TYPE_CHECKING:
    from server.model_server import ModelServer

__all__ = ["ModelServer", "Settings"]


def __getattr__(name: str) -> Any:
    if name == "ModelServer":
        from server.model_server import ModelServer

        return ModelServer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
