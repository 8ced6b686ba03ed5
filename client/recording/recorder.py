"""Record a share of a client's requests as they are made. No call ever waits for the disk."""

import atexit
import importlib.util
import os
import random
import threading
import weakref
from pathlib import Path
from typing import NamedTuple, Self

from client.errors import InputError
from client.files import opened
from client.recording.files import RecordFiles
from client.recording.logs import OVERHEAD_BYTES, is_recorded, log_record
from client.recording.tfrecord import HEADER_BYTES, record_length

# Bytes of requests that may wait for the disk.
QUEUE_BYTES = 64 * 2**20
# Seconds in which requests gather before they are written, so that a call seldom has to wake the thread.
_GATHER = 0.1
# Seconds after which a thread with nothing to write ends.
_IDLE = 60.0
_LEAST_BYTES = 4096


class _Offered(NamedTuple):
    method: str
    request: bytes
    response: bytes

    @property
    def size(self) -> int:
        """The most bytes that it takes, in memory or in a file."""
        return len(self.request) + len(self.response) + OVERHEAD_BYTES


class Recorder:
    """Records the Predict and Classify requests of a client in a file; a context manager.

    The file is a TFRecord file of PredictionLog. When it is full it becomes PATH.1, what was PATH.1 becomes PATH.2, and
    so on; the oldest are deleted. **It holds what users sent**: see docs/recording.md.

    A request is recorded if it was answered without an error. The recorder writes in its own thread. If the disk is
    full or too slow, requests are dropped and counted, and calls are not delayed. Several clients and threads may
    share a recorder, and several recorders and processes may share a path. A forked process counts from 0.

    Args:
        path: the file to append to.
        share: the probability that a request is recorded, above 0 and up to 1.
        answers: whether to record the responses too.
        max_bytes: the most bytes that all files together may take. A request larger than a quarter of it is dropped.

    Attributes:
        recorded: how many requests were written.
        dropped: how many were dropped.
        error: why the last failed write failed.

    Raises:
        InputError: if nothing can be recorded at this path, or if a number is out of range.

    Example:
        >>> with Recorder("traffic.tfrecord", share=1.0) as recorder:
        ...     with ServingClient("localhost:8500", "digits", transport=transport, record=recorder) as client:
        ...         answer = client.predict(images, k=2)
        >>> recorder.recorded
        1
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        share: float = 1.0,
        answers: bool = False,
        max_bytes: int = 100_000_000,
    ) -> None:
        if not 0 < share <= 1:
            raise InputError(f"share is {share}: give a number above 0 and up to 1, as 0.01 for one in a hundred")
        if max_bytes < _LEAST_BYTES:
            raise InputError(f"max_bytes is {max_bytes}: give at least {_LEAST_BYTES}")
        self.path = Path(path)
        _require_recordable(self.path)
        self.share = share
        self.answers = answers
        self._files = RecordFiles(self.path, max_bytes)
        self._closed = False
        self._begin()
        _RECORDERS.add(self)

    def _begin(self) -> None:
        """Set what a forked process must reset: its parent writes what is waiting, and threads are not copied."""
        self.recorded = 0
        self.dropped = 0
        self.error: str | None = None
        self._lock = threading.RLock()
        self._arrived = threading.Condition(self._lock)
        self._handled = threading.Condition(self._lock)
        self._hurry = threading.Event()
        self._waiting: list[_Offered] = []
        self._bytes = self._offers = self._done = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Recorder({str(self.path)!r}, share={self.share:g}, recorded={self.recorded}, dropped={self.dropped})"

    def offer(self, method: str, request: bytes, response: bytes) -> None:
        """Record a request, skip it at random, or drop it. This never waits.

        Args:
            method: the gRPC method that it was sent to. Only requests to Predict and Classify are recorded.
            request: the request, serialized.
            response: the response, serialized.
        """
        if random.random() >= self.share or not is_recorded(method):
            return
        offered = _Offered(method, request, response if self.answers else b"")
        size = offered.size
        with self._lock:
            if self._closed or size > self._files.largest or self._bytes + size > QUEUE_BYTES or not self._running():
                self.dropped += 1
                return
            self._waiting.append(offered)
            self._bytes += size
            self._offers += 1
            if len(self._waiting) == 1:
                self._arrived.notify()

    def flush(self, timeout: float = 5.0) -> None:
        """Wait until everything offered so far is written or dropped, but at most `timeout` seconds."""
        with self._lock:
            offers = self._offers
            self._hurry.set()
            self._handled.wait_for(lambda: self._done >= offers, timeout)
            self._hurry.clear()

    def close(self, timeout: float = 5.0) -> None:
        """Flush, then record nothing more. Requests that are not written in time are dropped."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._arrived.notify()
        self.flush(timeout)
        with self._lock:
            self.dropped += len(self._waiting)
            self._done += len(self._waiting)
            self._waiting = []

    def _running(self) -> bool:
        """Start the thread if it is not running; return False if it cannot be started, as when Python shuts down."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="recorder", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def _run(self) -> None:
        while True:
            with self._lock:
                self._arrived.wait_for(lambda: self._waiting or self._closed, _IDLE)
                if not self._waiting:
                    self._thread = None
                    return
            self._hurry.wait(_GATHER)
            with self._lock:
                batch, self._waiting = self._waiting, []
            self._write(batch)

    def _write(self, batch: list[_Offered]) -> None:
        written, error = 0, None  # type: tuple[int, Exception | None]
        try:
            written, error = self._files.append([log_record(*offered) for offered in batch])
        except Exception as unexpected:  # out of memory, say; without the thread, nothing would be recorded any more
            error = unexpected
        with self._lock:
            self.recorded += written
            self.dropped += len(batch) - written
            self._done += len(batch)
            self._bytes -= sum(offered.size for offered in batch)
            if error is not None:
                self.error = f"{self.path} cannot be written: {getattr(error, 'strerror', None) or repr(error)}"
            self._handled.notify_all()


def _require_recordable(path: Path) -> None:
    """Refuse a path where every record would be dropped, or where another kind of file would be renamed."""
    if importlib.util.find_spec("fcntl") is None:
        raise InputError("requests can only be recorded where files can be locked, as on Linux and macOS")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    if not path.exists():
        return
    if not path.is_file():
        raise InputError(f"{path} is not a file: give the path of a file to record to")
    with opened(path) as file:
        header = file.read(HEADER_BYTES)
    if header and record_length(header) is None:
        raise InputError(f"{path} holds something other than records: give the path of a new file")


_RECORDERS: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in _RECORDERS:
        recorder._begin()


def _at_exit() -> None:
    for recorder in list(_RECORDERS):
        recorder.close()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
