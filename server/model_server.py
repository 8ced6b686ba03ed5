"""The whole server: it loads models, opens ports and shuts down in an orderly way."""

import sys
import threading
from types import TracebackType

from server.answers import Answers
from server.config import read_metrics_path
from server.metrics import Metrics
from server.models.core import ServerCore
from server.rest.api import RestApi
from server.rest.app import RestApp
from server.rest.listener import HttpListener
from server.rpc.listener import GrpcListener, check_port
from server.rpc.services import Services
from server.settings import Settings


def _to_stderr(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


class ModelServer:
    """A stand-in for tensorflow_model_server, in this process.

    As a context manager, it starts on entry, returns when every model is AVAILABLE, and stops on exit.

    Args:
        settings: the flags.

    Attributes:
        port: the gRPC port; if the settings say 0, the one that the system picked.
        rest_port: the REST port, or 0 if there is no REST API.

    Raises:
        ServingError: on start, if the configuration is refused, all versions of a model fail, or a port is taken.

    Example:
        >>> with ModelServer(Settings(model_name="digits", model_base_path="/srv/models/digits")) as server:
        ...     channel = grpc.insecure_channel(f"localhost:{server.port}")

    """

    def __init__(self, settings: Settings) -> None:
        self.port = settings.port
        self.rest_port = settings.rest_api_port
        if self.rest_port and self.rest_port == self.port:
            self.rest_port = 0
            _to_stderr(
                "server_options.http_port cannot be same as grpc_port. Please use a different port for HTTP/REST API. "
                "Skipped exporting HTTP/REST API."
            )
        self._settings = settings
        self._metrics = Metrics()
        self._core = ServerCore(settings, self._metrics, _to_stderr)
        self._grpc: GrpcListener | None = None
        self._http: HttpListener | None = None

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Load the models, then open the ports. A port that is taken is noticed before anything is loaded."""
        settings = self._settings
        try:
            check_port(settings.port)
            if self.rest_port:
                self._http = HttpListener(self.rest_port)
            self._core.start()
            answers = Answers(self._core)
            self._grpc = GrpcListener(settings, Services(answers, self._metrics, settings.grpc_max_threads, _to_stderr))
            self.port = self._grpc.port
            if self._http is not None:
                api = RestApi(answers, max(settings.rest_api_timeout_in_ms, 0) / 1e3)
                app = RestApp(api, self._metrics, read_metrics_path(settings), _to_stderr)
                self._http.serve(app, threads=settings.rest_api_num_threads)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close the ports, let requests in flight finish for up to ten seconds, and free the models."""
        listeners = [listener for listener in (self._grpc, self._http) if listener is not None]
        ending = [threading.Thread(target=listener.stop) for listener in listeners]
        for thread in ending:
            thread.start()
        for thread in ending:
            thread.join()
        self._core.stop()
