"""Who waits for an answer, and until when."""

import time
from collections.abc import Callable
from dataclasses import dataclass


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Caller:
    """A client, or the server itself, that waits for an answer.

    Attributes:
        is_there: returns whether it is still connected.
        deadline: when it stops waiting, by time.monotonic(); None means never.

    """

    is_there: Callable[[], bool] = _always
    deadline: float | None = None

    def is_waiting(self) -> bool:
        """Return whether the answer is still needed."""
        return self.is_there() and (self.deadline is None or time.monotonic() < self.deadline)
