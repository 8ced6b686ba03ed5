"""The gRPC ports: a TCP port, and optionally a UNIX socket."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor

import grpc

from server.config import read_channel_arguments
from server.errors import ServingError
from server.rpc.services import Services
from server.settings import Settings

# Threads for refusing requests while all others are busy.
_SPARE_THREADS = 2
_GRACE_SECONDS = 10.0


class GrpcListener:
    """The open gRPC ports of a server.

    Attributes:
        port: the TCP port; if the settings say 0, the one that the system picked.

    Raises:
        ServingError: if a port is taken.

    """

    def __init__(self, settings: Settings, services: Services) -> None:
        self._threads = ThreadPoolExecutor(settings.grpc_max_threads + _SPARE_THREADS, thread_name_prefix="grpc")
        self._server = grpc.server(
            self._threads,
            # A port in use is refused, not shared. Like the real server, this one takes messages of 2 GB.
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                *read_channel_arguments(settings),
            ],
        )
        self._server.add_generic_rpc_handlers(
            services.handlers(health=settings.enable_grpc_healthcheck_service, profiler=settings.enable_profiler)
        )
        try:
            self.port = self._server.add_insecure_port(f"0.0.0.0:{settings.port}")
        except RuntimeError:
            raise _port_is_taken(settings.port) from None
        if settings.grpc_socket_path:
            path = os.fspath(settings.grpc_socket_path)
            try:
                self._server.add_insecure_port(f"unix:{path}")
            except RuntimeError:
                raise ServingError(
                    grpc.StatusCode.UNAVAILABLE,
                    f"The UNIX socket {path} cannot be opened: choose another --grpc_socket_path, of at most 107 "
                    "characters, in a directory that this process may write to, where no other file lies.",
                ) from None
        self._server.start()

    def stop(self) -> None:
        """Close the ports, and let requests in flight finish for up to ten seconds."""
        self._server.stop(_GRACE_SECONDS).wait()
        self._threads.shutdown(wait=False)


def check_port(port: int) -> None:
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
