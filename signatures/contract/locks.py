"""Locks between processes: on `deploy/`, which exports and promotions change, and on files that several append to."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Over NFS, only a file open for writing can be locked, so a file in the directory is locked instead.
_LOCK_FILE = ".lock"
_NOT_LOCKABLE = (errno.EBADF, errno.EINVAL, errno.EISDIR, errno.ENOLCK, errno.EOPNOTSUPP)


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(descriptor: int, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an open file, waiting for it if `wait`. It ends with the process, even if that is killed.

    Raises:
        LockedError: if another process holds it and `wait` is False.
        OSError: if the system or the file system has no such locks.
    """
    import fcntl

    _lock(descriptor, wait)
    try:
        yield
    finally:
        # Closing would not unlock it while a forked process has it open.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def locked_directory(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a directory, so that only one process at a time changes its files; see `locked`.

    Raises:
        LockedError: if another process holds it and `wait` is False.
        OSError: if the directory cannot be opened or locked.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            _lock(descriptor, wait)
        except OSError as error:
            if error.errno not in _NOT_LOCKABLE:
                raise
            os.close(descriptor)
            descriptor = os.open(directory / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
            _lock(descriptor, wait)
        yield
    finally:
        # Nothing here forks, so closing also releases the lock.
        os.close(descriptor)


def _lock(descriptor: int, wait: bool) -> None:
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise OSError("this system has no flock, which keeps processes apart that change the same files") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise LockedError from error
