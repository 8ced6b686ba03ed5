"""The served models and their labels: the configuration, how it changes, and the polling of the disk.

Follows server_core.cc. A new configuration replaces the whole old one.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc

from server import config as configuration
from server.caller import Caller
from server.errors import ServingError, invalid_argument
from server.inference.scheduler import BatchScheduler
from server.inference.servable import Servable
from server.loader import load
from server.metrics import Metrics
from server.mixed_precision import is_bfloat16
from server.models import model_config
from server.models.lifecycle import State, VersionManager, VersionStatus
from server.models.storage import find_versions
from server.models.warmup import warm_up
from server.settings import Settings


class ServerCore:
    """The models of a server, kept in sync with its configuration and with the disk.

    Args:
        settings: the flags.
        metrics: counts loads and runs.
        log: called with one sentence for each event that an operator wants to know about.

    """

    def __init__(self, settings: Settings, metrics: Metrics, log: Callable[[str], None]) -> None:
        self._settings = settings
        self._metrics = metrics
        self._log = log
        configuration.check(settings)
        parameters = configuration.read_batching_parameters(settings)
        self._first_config = configuration.read_model_server_config(settings)
        self._use_bfloat16 = is_bfloat16(settings.mixed_precision, log)
        self._config: Any = None
        self._labels: dict[str, dict[str, int]] = {}
        self._config_lock = threading.Lock()
        self._poll_lock = threading.Lock()
        self._last_problem = ""
        self._stopping = threading.Event()
        self._scheduler = BatchScheduler(parameters, metrics) if parameters is not None else None
        self._versions = VersionManager(
            self._load,
            max_num_load_retries=settings.max_num_load_retries,
            load_retry_interval=settings.load_retry_interval_micros / 1e6,
            log=log,
        )
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Load the configured models, and return when every model has an AVAILABLE version.

        Raises:
            ServingError: if the configuration is refused, or a model has only versions that fail to load.

        """
        settings = self._settings
        self.reload(self._first_config, Caller())
        if settings.model_config_file and settings.model_config_file_poll_wait_seconds > 0:
            self._every(settings.model_config_file_poll_wait_seconds, self._reread_config, at_once=False)

    def stop(self) -> None:
        """End every thread and free every version; requests still running fail."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._versions.stop()
        if self._scheduler is not None:
            self._scheduler.stop()

    def use(self, model_spec: Any) -> AbstractContextManager[tuple[int, Servable]]:
        """Hold the version that a ModelSpec names, or else the newest; the context's value is its number and Servable.

        Raises:
            ServingError: if it has no name or an unknown label, or if the version is not AVAILABLE.

        """
        name = model_spec.name
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        choice = model_spec.WhichOneof("version_choice")
        number = None
        if choice == "version":
            number = model_spec.version.value
        elif choice == "version_label":
            label = model_spec.version_label
            labels = self._labels.get(name, {})
            if label not in labels:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
            number = labels[label]
        return self._versions.use(name, number)

    def statuses(self, name: str) -> dict[int, VersionStatus]:
        """Return the status of every version that a model has had since the start, the newest first."""
        return self._versions.statuses(name)

    def reload(self, new: Any, caller: Caller) -> None:
        """Serve the models of a ModelServerConfig, and return when each new one has an AVAILABLE version.

        Args:
            new: the message; with an empty model_config_list everything is unloaded.
            caller: the caller that waits.

        Raises:
            ServingError: if the configuration is refused, or a new model has only versions that fail to load.

        """
        with self._config_lock:
            if new.WhichOneof("config") is None and self._config is None:
                return
            if new.WhichOneof("config") != "model_config_list":
                raise ServingError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList "
                    "to another.",
                )
            models = list(new.model_config_list.config)
            old = {model.name: model for model in self._config.model_config_list.config} if self._config else {}
            model_config.check(models, old)
            self._labels = self._checked_labels(models)
            for model in models:
                model_config.check_platform(model)
            with self._poll_lock:
                is_first, self._config = self._config is None, new
            for name in old.keys() - {model.name for model in models}:
                self._versions.aspire(name, {})
            if is_first:
                self._every(self._settings.file_system_poll_wait_seconds, self._poll, at_once=True)
            self._wait_for([model.name for model in models if model.name not in old], caller, is_first=is_first)
            if any(model.HasField("logging_config") for model in models):
                raise invalid_argument("No request-logger-creator provided.")

    def _wait_for(self, names: list[str], caller: Caller, *, is_first: bool) -> None:
        failures = self._versions.wait_until_available(
            names, lambda: caller.is_waiting() and not self._stopping.is_set()
        )
        if failures:
            # The real server words this differently at its start and later.
            kind = "servable" if is_first else "model"
            listed = "".join(f"{{{failure}}}, " for failure in failures.values())
            raise ServingError(
                grpc.StatusCode.UNKNOWN, f"{len(failures)} {kind}(s) did not become available: {{{listed}}}"
            )

    def _load(self, path: Path) -> Servable:
        settings = self._settings
        with self._metrics.count_load(path):
            session = load(path, xla_enabled=settings.xla_cpu_compilation_enabled, use_bfloat16=self._use_bfloat16)
        as_content = settings.enable_serialization_as_tensor_content
        servable = Servable(session, self._scheduler, self._metrics, as_content=as_content)
        if settings.enable_model_warmup:
            try:
                warm_up(servable, path, Caller(lambda: not self._stopping.is_set()))
            except ServingError:
                servable.close()
                raise
        return servable

    def _checked_labels(self, models: list[Any]) -> dict[str, dict[str, int]]:
        labels: dict[str, dict[str, int]] = {}
        for model in models:
            statuses = self._versions.statuses(model.name)
            for label, number in model.version_labels.items():
                is_new = self._labels.get(model.name, {}).get(label, number) == number
                is_exempt = self._settings.allow_version_labels_for_unavailable_models and is_new
                status = statuses.get(number)
                if not is_exempt and (status is None or status.state is not State.AVAILABLE):
                    raise ServingError(
                        grpc.StatusCode.FAILED_PRECONDITION,
                        f"Request to assign label to version {number} of model {model.name}, which is not currently "
                        "available for inference",
                    )
                labels.setdefault(model.name, {})[label] = number
        return labels

    def _poll(self) -> None:
        """Look for versions of all models; if one base path is missing, no model changes, as on the real server."""
        with self._poll_lock:
            if self._config is None:
                return
            models = self._config.model_config_list.config
            try:
                found = {model.name: find_versions(model) for model in models}
            except ServingError as error:
                self._say_once(error.message)
                return
            empty = next((model for model in models if not found[model.name]), None)
            self._say_once(
                f"No versions of servable {empty.name} found under base path {empty.base_path}" if empty else ""
            )
            for name, paths in found.items():
                self._versions.aspire(name, paths)

    def _say_once(self, problem: str) -> None:
        """Log what a poll found missing, unless the previous poll said the same."""
        if problem and problem != self._last_problem:
            self._log(f"{problem}; waiting for it")
        self._last_problem = problem

    def _reread_config(self) -> None:
        try:
            self.reload(configuration.read_model_server_config(self._settings), Caller())
        except ServingError as error:
            self._log(f"PollFilesystemAndReloadConfig failed to ReloadConfig: {error.message}")

    def _every(self, seconds: int, action: Callable[[], None], *, at_once: bool) -> None:
        """Call an action in a thread, at once if `at_once`, and then every `seconds` seconds; 0 means never again."""
        if seconds < 0 or (seconds == 0 and not at_once):
            return

        def repeat() -> None:
            if at_once:
                action()
            while seconds and not self._stopping.wait(seconds):
                action()

        thread = threading.Thread(target=repeat, name="poll", daemon=True)
        self._threads.append(thread)
        thread.start()
