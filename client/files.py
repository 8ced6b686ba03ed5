"""Files that a user names: one that cannot be read is an InputError."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from client.errors import InputError


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file; raise InputError, which names it and the reason, if it cannot be opened or read."""
    try:
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def content_of(path: Path) -> bytes:
    """Return the content of a file; see `opened`."""
    with opened(path) as stream:
        return stream.read()
