"""The HTTP port, served by waitress: a request is read to its end before a thread takes it."""

import logging
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import waitress
from waitress import wasyncore

from server.errors import ServingError

_GRACE_SECONDS = 10.0
_TICK_SECONDS = 0.02
_CONNECTIONS = 1000


class HttpListener:
    """A bound port, which answers once it is given an application.

    Args:
        port: the TCP port, for IPv6 and IPv4.
    """

    def __init__(self, port: int) -> None:
        self._socket = _bind(port)
        self._server: Any = None
        self._thread = threading.Thread(target=self._work, name="http", daemon=True)
        self._has_ended = threading.Event()

    def serve(self, app: Callable[..., Any], *, threads: int) -> None:
        """Answer requests with a WSGI application in a number of threads; further requests wait."""
        # waitress warns about each request that waits or that arrives while it closes.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._server = waitress.create_server(
            app, sockets=[self._socket], threads=threads, connection_limit=_CONNECTIONS, ident=None
        )
        self._thread.start()

    def stop(self) -> None:
        """Close the port, let requests in flight finish for up to ten seconds, and close all connections."""
        if self._server is None:
            self._socket.close()
            return
        # Sockets belong to the thread that waits on them; a trigger makes it call a function.
        trigger, threads = self._server.trigger, self._server.task_dispatcher
        trigger.pull_trigger(lambda: wasyncore.dispatcher.close(self._server))
        until = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < until and self._is_busy():
            time.sleep(_TICK_SECONDS)
        threads.shutdown(timeout=max(_TICK_SECONDS, until - time.monotonic()))
        trigger.pull_trigger(self._has_ended.set)
        self._thread.join()
        wasyncore.close_all(self._server._map, ignore_all=True)

    def _work(self) -> None:
        while not self._has_ended.is_set():
            wasyncore.loop(timeout=1.0, use_poll=True, map=self._server._map, count=1)

    def _is_busy(self) -> bool:
        connections = self._server.active_channels.copy().values()
        return any(connection.requests or connection.total_outbufs_len for connection in connections)


def _bind(port: int) -> socket.socket:
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            listener = socket.socket(family)
        except OSError:
            continue
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((address, port))
        except OSError:
            listener.close()
        else:
            return listener
    raise ServingError(
        grpc.StatusCode.UNAVAILABLE,
        f"The REST port {port} cannot be opened; another process may have it: choose another --rest_api_port, or leave "
        "it out to serve gRPC alone.",
    )
