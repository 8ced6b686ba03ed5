"""The interface of every server under test, whatever runs it."""

import signal
from dataclasses import dataclass
from typing import Protocol


class Server(Protocol):
    """A server that was started for one staged version. `stop` may be called at any time, and more than once."""

    def start(self) -> None:
        """Start it, and return without waiting for the model.

        Raises:
            ExportError: when the engine refuses, which says nothing about the version.
        """

    def stop(self) -> None:
        """End it, and remove everything that was created for it."""

    def ended(self) -> str | None:
        """Return how it ended, as in "it ended with status 1"; None while it runs."""

    def address(self) -> str | None:
        """Return where gRPC reaches it; None while that cannot be known yet."""

    def log(self) -> str:
        """Return everything that it has written."""

    def version(self) -> str:
        """Return what it answers to --version; "" if it does not answer."""

    def reproduction(self) -> "Reproduction":
        """Return how a person starts it again, in the kept directory of the version."""


@dataclass(frozen=True)
class Reproduction:
    """Lines of a shell script.

    Attributes:
        start: lines that start the server and make it reachable at localhost:8500, or fail.
        alive: a command that succeeds while the server runs.
        stop: a command that shows the end of its log, and removes it.
        root: where the server sees the output directory.
    """

    start: tuple[str, ...]
    alive: str
    stop: str
    root: str


def how_it_ended(status: int, *, out_of_memory: bool = False) -> str:
    """Describe an exit status. A container reports a signal as 128 plus its number, a process as minus its number.

    Example:
        >>> how_it_ended(1), how_it_ended(139), how_it_ended(-6)
        ('it ended with status 1', 'it was ended by SIGSEGV', 'it was ended by SIGABRT')
    """
    if out_of_memory:
        return "it was killed because it exceeded its memory limit"
    number = -status if status < 0 else status - 128
    try:
        return f"it was ended by {signal.Signals(number).name}"
    except ValueError:
        return f"it ended with status {status}"
