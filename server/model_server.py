"""The server as a whole: models loaded, port open, and an orderly end."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import grpc

from server.config import Settings
from server.core import ServerCore
from server.errors import ServingError
from server.services import Services

# Threads that only say that all others are busy.
_SPARE_THREADS = 2
_GRACE_SECONDS = 10.0


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class ModelServer:
    """A stand-in for tensorflow_model_server, in this process.

    As a context manager it starts on entry, comes back when every model is AVAILABLE, and stops on exit.

    Attributes:
        port: the port it listens on; with port=0 in the settings, the one that the system picked.

    Raises:
        ServingError: on start, when the configuration is refused, a model has only versions that fail to load, or
            the port is taken.

    Example:
        with ModelServer(Settings(model_name="digits", model_base_path="/srv/models/digits")) as server:
            channel = grpc.insecure_channel(f"localhost:{server.port}")

    """

    def __init__(self, settings: Settings) -> None:
        self.port = settings.port
        self._settings = settings
        self._core = ServerCore(settings, _to_stderr)
        self._grpc: grpc.Server | None = None

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Load the models, then open the port."""
        try:
            _check_port(self._settings.port)
            self._core.start()
            self._open_port()
        except BaseException:
            self._core.stop()
            raise

    def stop(self) -> None:
        """Close the port, let requests in flight finish for up to ten seconds, and free the models."""
        if self._grpc is not None:
            self._grpc.stop(_GRACE_SECONDS).wait()
        self._core.stop()

    def _open_port(self) -> None:
        threads = self._settings.grpc_max_threads
        services = Services(self._core, threads, _to_stderr)
        self._grpc = grpc.server(
            ThreadPoolExecutor(threads + _SPARE_THREADS, thread_name_prefix="grpc"),
            # A port in use is an error here, not a second server on it; and as the real one it takes 2 GB messages.
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
            ],
        )
        self._grpc.add_generic_rpc_handlers(services.handlers(health=self._settings.enable_grpc_healthcheck_service))
        try:
            self.port = self._grpc.add_insecure_port(f"0.0.0.0:{self._settings.port}")
        except RuntimeError:
            raise _port_is_taken(self._settings.port) from None
        self._grpc.start()


def _check_port(port: int) -> None:
    """Refuse a port in use before anything is loaded, and without the lines that gRPC would write about it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            raise _port_is_taken(port) from None


def _port_is_taken(port: int) -> ServingError:
    return ServingError(
        grpc.StatusCode.UNAVAILABLE,
        f"Port {port} cannot be opened; another process may have it: choose another --port, or 0 to let the system "
        "pick one.",
    )
