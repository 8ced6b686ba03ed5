"""The files that records are appended to: PATH, and PATH.1, PATH.2, ... with what is older."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from client.recording.tfrecord import HEADER_BYTES, record_length

# A file is full at this part of all bytes allowed.
_FULL = 4


class RecordFiles:
    """TFRecord files that together hold at most so many bytes.

    At any moment each of them can be read: it ends where a record ends. Several recorders may append to the same
    path, in one process or in several, as each holds a lock on the file while it writes.

    Args:
        path: the newest file.
        max_bytes: what all files may take.

    Attributes:
        largest: how many bytes a record may take.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.largest = max_bytes // _FULL
        self._max_bytes = max_bytes
        # Up to where the newest file is known to hold whole records, and which file that is.
        self._known = (0, 0)

    def append(self, records: Sequence[Sequence[bytes]]) -> tuple[int, OSError | None]:
        """Append records, each in parts and none larger than `largest`; delete the oldest files to make room.

        Returns:
            How many were written, and the error that ended it where that is not all.
        """
        written = 0
        try:
            while written < len(records):
                with self._locked() as file:
                    for _ in self._filled(file, records[written:]):
                        written += 1
        except OSError as error:
            return written, error
        return written, None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open the newest file for this process alone."""
        import fcntl

        while True:
            # Requests hold what users sent, which is for nobody else to read.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                try:
                    if _is_still(self.path, file):
                        yield file
                        return
                finally:
                    # Closing would not unlock it while a forked process has it open.
                    fcntl.flock(file, fcntl.LOCK_UN)
            finally:
                os.close(file)

    def _filled(self, file: int, records: Sequence[Sequence[bytes]]) -> Iterator[None]:
        """Append records, yielding after each; move the file aside when it has no room for the next."""
        end = self._end_of_records(file)
        for record in records:
            length = sum(map(len, record))
            if end and (end < 0 or end + length > self.largest):
                self._rotate()
                return
            _write_whole(file, end, record)
            end += length
            self._known = (os.fstat(file).st_ino, end)
            yield

    def _end_of_records(self, file: int) -> int:
        """Return where the next record goes, after cutting off one that a killed process left unfinished.

        -1 stands for a file that is damaged, to which nothing must be appended.
        """
        status = os.fstat(file)
        known, end = self._known
        end = end if known == status.st_ino and end <= status.st_size else 0
        while end < status.st_size:
            header = os.pread(file, HEADER_BYTES, end)
            length = record_length(header)
            if length is None and len(header) == HEADER_BYTES:
                return -1
            if length is None or end + HEADER_BYTES + length > status.st_size:
                os.ftruncate(file, end)
                return end
            end += HEADER_BYTES + length
        return end

    def _rotate(self) -> None:
        """Give the newest file the next number, and delete those for which there is no room then."""
        rotated = self._rotated()
        for number, file in reversed(rotated):
            file.replace(_numbered(self.path, number + 1))
        self.path.replace(_numbered(self.path, 1))
        size = self.largest
        for _, file in self._rotated():
            size += file.stat().st_size
            if size > self._max_bytes:
                file.unlink()

    def _rotated(self) -> list[tuple[int, Path]]:
        """Return the numbered files, the newest first."""
        start = len(self.path.name) + 1
        names = [file.name for file in self.path.parent.iterdir() if file.name.startswith(f"{self.path.name}.")]
        numbers = sorted(int(name[start:]) for name in names if name[start:].isdecimal())
        return [(number, _numbered(self.path, number)) for number in numbers]


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _is_still(path: Path, file: int) -> bool:
    """Return whether an open file still has its name, and was not moved aside while its lock was waited for."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write_whole(file: int, end: int, parts: Sequence[bytes]) -> None:
    """Write all parts at a place, or raise OSError and leave the file as it was."""
    try:
        os.lseek(file, end, os.SEEK_SET)
        written = os.writev(file, parts)
        if written < sum(map(len, parts)):
            # The disk has become full: writing on tells why, or succeeds after all.
            rest = memoryview(b"".join(parts))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
    except OSError:
        os.ftruncate(file, end)
        raise
