"""The command's terminal: interrupts, encodings, and what C++ code writes to stderr."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from rich.table import Column

_FILTER = Path(__file__).with_name("stderr_filter.py")

# How long to wait for the filter to pass on the rest, and how long cleanup after Ctrl-C may take.
_SECONDS = 3.0


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Let Ctrl-C end the work, and ignore a second one during the cleanup."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    last = float("-inf")

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > _SECONDS:
            last = now
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        # After an interrupt, the process is ending, which takes TensorFlow a while: another one would only disturb it.
        interrupted = last > float("-inf")
        signal.signal(signal.SIGINT, signal.SIG_IGN if interrupted else signal.default_int_handler)


def replace_unprintable() -> None:
    """Print characters that the terminal's encoding lacks as escapes instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def folding(*headers: str) -> list[Column]:
    """Return columns that wrap long text; rich would end it in an ellipsis, which not every terminal can show."""
    return [Column(header, overflow="fold") for header in headers]


@contextmanager
def filtered_stderr() -> Iterator[TextIO]:
    """Send what this process writes to stderr, C++ code included, through `exporter.cli.stderr_filter`.

    Yields:
        A stream to stderr that bypasses the filter, for progress output.
    """
    if not _is_stderr(sys.stderr):
        yield sys.stderr
        return
    past = os.fdopen(os.dup(2), "w", encoding=sys.stderr.encoding, errors="backslashreplace")
    try:
        # In a separate session, which Ctrl-C does not reach.
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_FILTER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=past,
            start_new_session=True,
        )
    except OSError:
        with past:
            yield past
        return
    assert process.stdin is not None
    with past:
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        try:
            yield past
        finally:
            sys.stderr.flush()
            past.flush()
            # This closes the last writer, unless a process that the user started holds it too.
            os.dup2(past.fileno(), 2)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS)


def _is_stderr(stream: TextIO) -> bool:
    try:
        return stream.fileno() == 2
    except (AttributeError, OSError):
        return False
