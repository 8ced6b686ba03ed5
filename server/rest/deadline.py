"""Limit the time that a request may take."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import grpc

from server.answers import IsWanted
from server.errors import ServingError

T = TypeVar("T")


class Deadline:
    """Runs answers in its own threads, and stops waiting for one that takes too long.

    A graph cannot be interrupted from Python: it keeps computing, and its answer is thrown away.

    Args:
        seconds: how long an answer may take; 0 means forever.
        threads: how many answers to compute at the same time.

    """

    def __init__(self, seconds: float, threads: int) -> None:
        self._seconds = seconds
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="rest")

    def run(self, answer: Callable[[IsWanted], T]) -> T:
        """Return the result of a function, which can ask whether its caller is still waiting.

        Raises:
            ServingError: DEADLINE_EXCEEDED, or what the function raises.

        """
        late = threading.Event()
        future = self._pool.submit(answer, lambda: not (late.is_set() or self._closed.is_set()))
        try:
            return future.result(self._seconds or None)
        except TimeoutError:
            if future.done():
                raise
            late.set()
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Timed out waiting for notification") from None

    def close(self) -> None:
        """Stop starting answers."""
        self._closed.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
