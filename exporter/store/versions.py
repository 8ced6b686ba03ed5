"""The versions in a model's base path: numbered directories that appear whole or not at all.

A TensorFlow server takes every child whose name is an integer as a version, complete or not, and replaces the good
one with it. So a version is written under another name on the same file system, flushed and renamed.
"""

import errno
import fcntl
import os
import shutil
import socket
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.errors import StoreError

_STAGING = ".staging-"
_FAILED = ".failed-"
_LAST_VERSION = ".last_version"
# A server's version number is an int64, and it ignores directories with a larger one.
_LARGEST = 2**63 - 1
# On a network file system, a directory's lock holds on one machine only. So what other machines left is removed only if
# it is older than this: they may still be exporting.
_FOREIGN_SECONDS = 24 * 3600


class VersionStore:
    """The versions in one model's base path.

    Numbers only rise: the last one used is stored in a file, so that a number is not used again after its version was
    removed. A lock on the directory keeps apart the exporters of one machine that share a base path. Those of several
    machines are kept apart by the rename, which never replaces a version.

    Args:
        base_path: the directory of the versions; `staging` creates it if needed.

    Raises:
        StoreError: from its methods, when the directory cannot be written to or a number was used before.

    Example:
        >>> store = VersionStore(Path("models/digits"))
        >>> with store.staging() as directory:
        ...     size = (directory / "saved_model.pb").write_bytes(b"a model")
        ...     version = store.publish(directory)
        >>> version, store.versions()
        (1, [1])
    """

    def __init__(self, base_path: Path) -> None:
        self.base_path = base_path

    def versions(self) -> list[int]:
        """Return the published versions, lowest first."""
        if not self.base_path.is_dir():
            return []
        numbers = (int(child.name) for child in self.base_path.iterdir() if child.name.isdecimal())
        return sorted(number for number in numbers if number <= _LARGEST)

    @contextmanager
    def staging(self, keep_on: type[Exception] | None = None) -> Iterator[Path]:
        """Yield an empty directory to write a version into; on exit, remove it unless it was published.

        First, remove what killed exporters left behind: those of this machine at once, those of others after a day.

        Args:
            keep_on: a type of error after which the directory is kept, under another name that is added to the error.

        Raises:
            StoreError: when the base path cannot be written to.
        """
        made: list[Path] = []
        try:
            made += [path for path in (self.base_path, *self.base_path.parents) if not path.exists()]
            with self._locked():
                self._sweep()
                directory = self._unused_name()
                directory.mkdir()
                # The lock ends with this process, however it ends.
                owner = _lock(directory)
        except BaseException as error:
            self._remove_if_empty(made)
            if isinstance(error, OSError):
                raise StoreError(f"{self.base_path} cannot be written to: {error.strerror}.") from error
            raise
        try:
            yield directory
        except Exception as error:
            if keep_on and isinstance(error, keep_on):
                kept = directory.rename(directory.with_name(directory.name.replace(_STAGING, _FAILED)))
                error.add_note(f"The failed version is kept in {kept}.")
            raise
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(owner)
            self._remove_if_empty(made)

    def next_version(self, wanted: int | None = None) -> int:
        """Return the number of the next version: the wanted one, or the lowest above all that were used.

        Raises:
            StoreError: when the wanted number is not above all that were used, or too large for a server.
        """
        last = max([self._last_version(), *self.versions()])
        version = last + 1 if wanted is None else wanted
        if version > _LARGEST:
            raise StoreError(f"Version {version} of {self.base_path} cannot be served: use {_LARGEST} or less.")
        if version <= last:
            raise StoreError(
                f"Version {version} of {self.base_path} cannot be published: {last} was already used, and numbers only "
                f"rise. Use {last + 1} or more."
            )
        return version

    def publish(self, directory: Path, wanted: int | None = None) -> int:
        """Rename a staged directory to a version number, the wanted or the next one, and return that number.

        Raises:
            StoreError: when the wanted number is not above all that were used.
        """
        _flush_tree(directory)
        with self._locked():
            while True:
                version = self.next_version(wanted)
                # Before the rename: a crash in between then skips a number instead of using one twice.
                self._keep_last_version(version)
                try:
                    directory.rename(self.base_path / str(version))
                    break
                except OSError as error:
                    # An exporter of another machine was faster.
                    if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                        raise
            # A server may have loaded it by now, so nothing may fail from here on.
            with suppress(OSError):
                for changed in (self.base_path, *self.base_path.parents):
                    _flush(changed)
        return version

    def prune(self, keep: int, spare: Collection[int] = ()) -> list[int]:
        """Remove all versions but the newest `keep` and those to spare, and return the removed numbers."""
        with self._locked():
            removed = [version for version in self.versions()[:-keep] if version not in spare]
            for version in removed:
                # Renamed first, because a server must not see half a version.
                doomed = self._unused_name()
                (self.base_path / str(version)).rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        return removed

    def _unused_name(self) -> Path:
        return self.base_path / f"{_STAGING}{socket.gethostname()}-{uuid.uuid4().hex}"

    def _last_version(self) -> int:
        file = self.base_path / _LAST_VERSION
        try:
            return int(file.read_text())
        except FileNotFoundError:
            return 0
        except ValueError:
            raise StoreError(f"{file} holds no number; write the highest version that was ever used into it.") from None

    def _keep_last_version(self, version: int) -> None:
        file = self.base_path / _LAST_VERSION
        new = file.with_suffix(".new")
        new.write_text(f"{version}\n")
        _flush(new)
        new.replace(file)

    def _sweep(self) -> None:
        """Remove the staging directories that no living process holds."""
        for leftover in self.base_path.glob(f"{_STAGING}*"):
            ours = leftover.name.startswith(f"{_STAGING}{socket.gethostname()}-")
            with suppress(BlockingIOError, FileNotFoundError):
                if ours or time.time() - leftover.stat().st_mtime > _FOREIGN_SECONDS:
                    owner = _lock(leftover, fcntl.LOCK_NB)
                    shutil.rmtree(leftover, ignore_errors=True)
                    os.close(owner)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the base path against other exporters, and create it if needed."""
        descriptor = self._lock_base_path()
        try:
            yield
        finally:
            os.close(descriptor)

    def _lock_base_path(self) -> int:
        # An exporter that fails may remove the empty directory between any two of our steps: then try again.
        for _ in range(100):
            try:
                self.base_path.mkdir(parents=True, exist_ok=True)
                descriptor = _lock(self.base_path)
            except FileNotFoundError as error:
                vanished = error
                continue
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), self.base_path.stat()):
                    return descriptor
            os.close(descriptor)
        raise vanished

    def _remove_if_empty(self, made: list[Path]) -> None:
        """Remove the directories that this exporter made, innermost first, as long as they are empty."""
        with suppress(OSError):
            descriptor = _lock(self.base_path)
            try:
                for directory in made:
                    directory.rmdir()
            finally:
                os.close(descriptor)


def _lock(directory: Path, flags: int = 0) -> int:
    """Lock a directory until the returned descriptor is closed or the process ends."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | flags)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _flush_tree(directory: Path) -> None:
    for parent, _, files in os.walk(directory, topdown=False):
        for name in (*files, "."):
            _flush(Path(parent, name))


def _flush(path: Path) -> None:
    """Write a file's content, or a directory's entries, to the disk."""
    # Opening for reading is enough, and works for read-only files, too.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
