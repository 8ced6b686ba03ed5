"""Locks that keep processes apart, also where a directory itself cannot be locked."""

import errno
import fcntl
import multiprocessing
import os

import pytest

from signatures.contract.locks import LockedError, locked, locked_directory


@pytest.fixture(params=["local", "NFS"])
def directory(request, tmp_path, monkeypatch):
    """A directory; over NFS, Linux refuses to lock what is not open for writing."""
    flock = fcntl.flock

    def over_nfs(descriptor, operation):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return flock(descriptor, operation)

    if request.param == "NFS":
        monkeypatch.setattr(fcntl, "flock", over_nfs)
    return tmp_path


def hold(directory, held, end):
    with locked_directory(directory):
        held.set()
        end.wait(30)


def test_a_lock_keeps_another_process_away_and_ends_with_it(directory):
    fork = multiprocessing.get_context("fork")
    held, end = fork.Event(), fork.Event()
    other = fork.Process(target=hold, args=(directory, held, end))
    other.start()
    assert held.wait(30)
    with pytest.raises(LockedError), locked_directory(directory, wait=False):
        pass
    other.kill()
    other.join()
    with locked_directory(directory, wait=False):
        pass


def test_an_error_of_whoever_holds_the_lock_is_theirs_and_ends_it(directory):
    with pytest.raises(OSError, match="their own"), locked_directory(directory):
        raise OSError(errno.EBADF, "their own")
    with locked_directory(directory, wait=False):
        pass


def test_a_file_is_unlocked_though_a_fork_has_it_open(tmp_path):
    file = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    copy = os.dup(file)
    with locked(file):
        pass
    os.close(file)
    other = os.open(tmp_path / "file", os.O_RDWR)
    with locked(other, wait=False):
        pass
    os.close(copy)
    os.close(other)
