"""Handle signals while a server runs that nobody else would stop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def signals_that_unwind() -> Iterator[None]:
    """Let the signals that end a process raise SystemExit, as Ctrl-C raises KeyboardInterrupt, so that cleanup runs.

    Handlers other than the default stay. Only the main thread can have handlers.
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
    """Let the body finish first. A signal that arrives meanwhile takes effect afterwards."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    numbers = (signal.SIGINT, *_ENDING)
    before = {each: signal.signal(each, lambda number, _: received.append(number)) for each in numbers}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        if received:
            signal.raise_signal(received[0])
