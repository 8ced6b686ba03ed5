"""Signals, while a server runs that nobody else would stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_that_unwind() -> Iterator[None]:
    """Let the signals that end a process raise SystemExit, as Ctrl-C raises KeyboardInterrupt: cleanup then runs.

    Handlers that are not the system's own stay. Only the main thread can have any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    ours = [each for each in _ENDING if signal.getsignal(each) == signal.SIG_DFL]
    for each in ours:
        signal.signal(each, end)
    try:
        yield
    finally:
        for each in ours:
            signal.signal(each, signal.SIG_DFL)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Let what runs inside come to its end first; a signal that came meanwhile does afterwards what it would have."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    numbers = (signal.SIGINT, *_ENDING)
    before = {each: signal.signal(each, lambda number, _: came.append(number)) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if came:
            signal.raise_signal(came[0])
