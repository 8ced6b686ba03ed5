"""The life cycle of versions: START, LOADING, AVAILABLE, UNLOADING, END, and the requests that use them.

Follows AspiredVersionsManager with the AvailabilityPreservingPolicy: one thread takes one action at a time, and a
version that is no longer wanted is unloaded only once one that is wanted is AVAILABLE, or if no version is wanted.

A request for versions waits while it names one that is still loaded but no longer wanted. Hence a failed version stays
failed while an older one serves in its place, even if it is removed from disk and put there again. Only a newer
version, or the absence of all versions, changes that.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import grpc

from server.errors import ServingError, fault, status_code
from server.inference.servable import Servable

Load = Callable[[Path], Servable]
_TICK_SECONDS = 0.1


class State(IntEnum):
    """The states of get_model_status.proto."""

    START = 10
    LOADING = 20
    AVAILABLE = 30
    UNLOADING = 40
    END = 50


@dataclass(frozen=True)
class VersionStatus:
    """What GetModelStatus shows about one version; `code` is 0 unless it ended with an error."""

    state: State
    code: int = 0
    message: str = ""


@dataclass
class _Version:
    """A version that is wanted, or not yet unloaded."""

    path: Path
    is_aspired: bool = True
    is_managed: bool = False
    servable: Servable | None = None
    has_failed: bool = False
    users: int = 0


@dataclass
class _Model:
    versions: dict[int, _Version] = field(default_factory=dict)
    history: dict[int, VersionStatus] = field(default_factory=dict)
    requested: Mapping[int, Path] | None = None

    def latest(self) -> int | None:
        return max((number for number, version in self.versions.items() if version.servable is not None), default=None)


_Action = tuple[Callable[[str, int, _Version], None], str, int, _Version]


class VersionManager:
    """All models and their versions. It loads and unloads them in its own thread.

    Args:
        load: makes a Servable from a version directory, or raises a ServingError.
        max_num_load_retries: tries after the first one.
        load_retry_interval: seconds before each of those.
        log: called with one sentence for each event that an operator wants to know about.

    """

    def __init__(
        self, load: Load, *, max_num_load_retries: int, load_retry_interval: float, log: Callable[[str], None]
    ) -> None:
        self._load = load
        self._retries = max(max_num_load_retries, 0)
        self._retry_interval = load_retry_interval
        self._log = log
        self._models: dict[str, _Model] = {}
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="versions", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop waiting, end the thread, and free every version; requests still running fail."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        self._thread.join()
        with self._changed:
            versions = [version for model in self._models.values() for version in model.versions.values()]
            self._models.clear()
        for version in versions:
            if version.servable is not None:
                version.servable.close()

    def aspire(self, name: str, paths: Mapping[int, Path]) -> None:
        """Set which versions of a model are wanted from now on, and where they are."""
        with self._changed:
            self._models.setdefault(name, _Model()).requested = paths

    def statuses(self, name: str) -> dict[int, VersionStatus]:
        """Return the status of every version that a model has had since the start, the newest first."""
        with self._changed:
            model = self._models.get(name)
            return dict(sorted(model.history.items(), reverse=True)) if model else {}

    def wait_until_available(self, names: Iterable[str], is_waiting: Callable[[], bool]) -> dict[str, str]:
        """Wait until every model has an AVAILABLE version, or only versions that failed to load.

        Returns:
            For each model without an AVAILABLE version, the newest version and why it failed.

        Raises:
            ServingError: CANCELLED if the caller no longer waits or the server stops.

        """
        failures: dict[str, str] = {}
        with self._changed:
            for name in names:
                while (settled := self._outcome(name)) is None:
                    if self._stopping.is_set() or not is_waiting():
                        raise ServingError(grpc.StatusCode.CANCELLED, f"No longer waiting for model {name}.")
                    self._changed.wait(_TICK_SECONDS)
                if isinstance(settled, str):
                    failures[name] = settled
        return failures

    @contextmanager
    def use(self, name: str, number: int | None) -> Iterator[tuple[int, Servable]]:
        """Keep one version, the newest if `number` is None, from being unloaded inside the with statement.

        Raises:
            ServingError: NOT_FOUND if it is not AVAILABLE.

        """
        with self._changed:
            model = self._models.get(name)
            chosen = number if number is not None or model is None else model.latest()
            version = model.versions.get(chosen) if model is not None and chosen is not None else None
            if chosen is None or version is None or version.servable is None:
                wanted = f"Latest({name})" if number is None else f"Specific({name}, {number})"
                raise ServingError(grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {wanted}")
            version.users += 1
            servable = version.servable
        try:
            yield chosen, servable
        finally:
            with self._changed:
                version.users -= 1
                if version.servable is None:
                    self._changed.notify_all()

    def _outcome(self, name: str) -> str | State | None:
        """Return AVAILABLE, or what went wrong with the newest version, or None while that is undecided."""
        model = self._models.get(name, _Model())
        wanted = {number: version for number, version in model.versions.items() if version.is_aspired}
        if any(version.servable is not None for version in wanted.values()):
            return State.AVAILABLE
        if not wanted or not all(version.has_failed for version in wanted.values()):
            return None
        status = model.history[max(wanted)]
        code = status_code(status.code).name
        return f"{{name: {name} version: {max(wanted)}}} due to error: {code}: {status.message}"

    def _work(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            self._take_requests()
            while not self._stopping.is_set() and (action := self._next_action()) is not None:
                act, name, number, version = action
                act(name, number, version)
            with self._changed:
                # Versions added in this round are loaded in the next, so that START can be seen.
                for model in self._models.values():
                    for version in model.versions.values():
                        version.is_managed = True

    def _take_requests(self) -> None:
        """Forget versions that failed and are not wanted, and accept every request that does not have to wait."""
        with self._changed:
            for name, model in self._models.items():
                model.versions = {
                    number: version
                    for number, version in model.versions.items()
                    if version.is_aspired or not version.has_failed
                }
                wanted = model.requested
                if wanted is None or any(
                    number in wanted and not version.is_aspired for number, version in model.versions.items()
                ):
                    continue
                model.requested = None
                for number, version in model.versions.items():
                    version.is_aspired = number in wanted
                for number in wanted.keys() - model.versions.keys():
                    model.versions[number] = _Version(wanted[number])
                    self._show(name, number, VersionStatus(State.START))

    def _next_action(self) -> _Action | None:
        with self._changed:
            return self._next_unload() or self._next_load()

    def _next_unload(self) -> _Action | None:
        for name, model in self._models.items():
            wanted = [version for version in model.versions.values() if version.is_aspired]
            leftover = [
                number
                for number, version in sorted(model.versions.items())
                if version.servable is not None and not version.is_aspired
            ]
            has_successor = not wanted or any(version.servable is not None for version in wanted)
            if leftover and (has_successor or len(leftover) > 1):
                return self._unload, name, leftover[0], model.versions[leftover[0]]
        return None

    def _next_load(self) -> _Action | None:
        for name, model in self._models.items():
            for number, version in sorted(model.versions.items(), reverse=True):
                if version.servable is not None or version.has_failed or not version.is_managed:
                    continue
                if version.is_aspired:
                    return self._load_with_retries, name, number, version
                # No longer wanted before its load began.
                version.has_failed = True
                self._show(name, number, VersionStatus(State.END))
        return None

    def _load_with_retries(self, name: str, number: int, version: _Version) -> None:
        self._show(name, number, VersionStatus(State.LOADING))
        self._log(f"Loading servable version {{name: {name} version: {number}}}")
        for remaining in range(self._retries, -1, -1):
            try:
                servable = self._load(version.path)
            except Exception as error:
                known = error if isinstance(error, ServingError) else fault(error)
                failure = VersionStatus(State.END, known.number, known.message)
                self._log(f"Loading servable {{name: {name} version: {number}}} failed: {known.message}")
            else:
                with self._changed:
                    version.servable = servable
                    self._show(name, number, VersionStatus(State.AVAILABLE))
                self._log(f"Successfully loaded servable version {{name: {name} version: {number}}}")
                return
            if not remaining or not self._wait_for_retry(version):
                break
        with self._changed:
            version.has_failed = True
            self._show(name, number, failure)

    def _wait_for_retry(self, version: _Version) -> bool:
        """Wait, and return whether the version is still wanted."""
        until = time.monotonic() + self._retry_interval
        while version.is_aspired and time.monotonic() < until:
            if self._stopping.wait(min(_TICK_SECONDS, max(0.0, until - time.monotonic()))):
                return False
            self._take_requests()
        return version.is_aspired and not self._stopping.is_set()

    def _unload(self, name: str, number: int, version: _Version) -> None:
        with self._changed:
            servable, version.servable = version.servable, None
            self._show(name, number, VersionStatus(State.UNLOADING))
            while version.users and not self._stopping.is_set():
                self._changed.wait()
            del self._models[name].versions[number]
        if servable is not None:
            servable.close()
        self._show(name, number, VersionStatus(State.END))
        self._log(f"Done unloading servable version {{name: {name} version: {number}}}")

    def _show(self, name: str, number: int, status: VersionStatus) -> None:
        with self._changed:
            self._models[name].history[number] = status
            self._changed.notify_all()
