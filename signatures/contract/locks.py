"""Locks between processes: on `deploy/`, which exports and promotions change, and on files that several append to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class LockedError(Exception):
    """Another process holds the lock."""


@contextmanager
def locked(descriptor: int, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of an open file or directory. It ends with the process, however that ends.

    Args:
        descriptor: the open file or directory.
        wait: whether to wait while another process holds the lock.

    Raises:
        LockedError: if another process holds it and `wait` is False.
        OSError: if the system or the file system has no such locks.
    """
    try:
        import fcntl
    except ModuleNotFoundError as error:
        raise OSError("this system has no flock, which keeps processes apart that change the same files") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError as error:
        raise LockedError from error
    try:
        yield
    finally:
        # Closing would not unlock it while a forked process has it open.
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextmanager
def locked_directory(directory: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a directory, which keeps apart those who change its files; see `locked`.

    Args:
        directory: the directory, which exists.
        wait: whether to wait while another process holds the lock.

    Raises:
        LockedError: if another process holds it and `wait` is False.
        OSError: if the directory cannot be opened or locked.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        with locked(descriptor, wait=wait):
            yield
    finally:
        os.close(descriptor)
