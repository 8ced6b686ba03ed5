"""The files that hold the records: PATH, and PATH.1, PATH.2, ... with older records."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from client.recording.tfrecord import HEADER_BYTES, record_length
from signatures.contract.locks import locked

# A record, in parts that are written one after the other.
Record: TypeAlias = Sequence[bytes]

# A file is full at this fraction, 1 / _FULL, of all bytes allowed.
_FULL = 4
# The most bytes and records to write at once. The system takes 1,024 parts, and a record has up to 7.
_GROUP_BYTES = 2**18
_GROUP = 128

_CUT_SHORT = "a record that is cut short"
_DAMAGED = "something that is not a record"


class RecordFiles:
    """TFRecord files with a limit on their total size.

    Between two writes, each file ends where a record ends. Several recorders may append to the same path, in one
    process or in several, because each locks the file while it writes.

    Args:
        path: the newest file.
        max_bytes: the most bytes that all files together may take.

    Attributes:
        largest: the most bytes that one record may take.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.largest = max_bytes // _FULL
        self._max_bytes = max_bytes
        # The inode of the newest file, and up to where it is known to hold whole records.
        self._known = (0, 0)

    def append(self, records: Sequence[Record]) -> tuple[int, OSError | None]:
        """Append records, each in parts and none larger than `largest`; delete the oldest files to make room.

        Returns:
            How many were written, and the error that stopped the others, if any.
        """
        written = 0
        try:
            while written < len(records):
                with self._locked() as file:
                    for count in self._filled(file, records[written:]):
                        written += count
        except OSError as error:
            return written, error
        return written, None

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """Open and lock the newest file."""
        while True:
            # Requests hold what users sent. Nobody else may read that.
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                with locked(file):
                    if _is_still(self.path, file):
                        yield file
                        return
            finally:
                os.close(file)

    def _filled(self, file: int, records: Sequence[Record]) -> Iterator[int]:
        """Append the records that the file has room for, and yield their numbers; rotate the file if some are left."""
        end, inode = self._end_of_records(file), os.fstat(file).st_ino
        room = self.largest - end if end >= 0 else 0
        left = len(records)
        os.lseek(file, max(end, 0), os.SEEK_SET)
        for group in _groups(records, room):
            parts = [part for record in group for part in record]
            _write_whole(file, end, parts)
            end += sum(map(len, parts))
            self._known = (inode, end)
            left -= len(group)
            yield len(group)
        if left:
            self._rotate()

    def _end_of_records(self, file: int) -> int:
        """Return where the next record goes, after cutting off one that a killed process left unfinished.

        Return -1 if the file is damaged: nothing may be appended to it.
        """
        status = os.fstat(file)
        known, start = self._known
        end, left = _whole_records(file, start if known == status.st_ino else 0, status.st_size)
        if left:
            # Perhaps it is another file, to which the system gave the inode of a deleted one.
            end, left = _whole_records(file, 0, status.st_size)
        if left == _DAMAGED:
            return -1
        if left == _CUT_SHORT:
            os.ftruncate(file, end)
        return end

    def _rotate(self) -> None:
        """Rename each file to the next number, and delete the oldest ones that exceed the size limit."""
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


def _groups(records: Sequence[Record], room: int) -> Iterator[list[Record]]:
    """Yield the records for which there is room, in groups to write at once."""
    group: list[Record] = []
    size = 0
    for record in records:
        length = sum(map(len, record))
        room -= length
        if room < 0:
            break
        if group and (size + length > _GROUP_BYTES or len(group) == _GROUP):
            yield group
            group, size = [], 0
        group.append(record)
        size += length
    if group:
        yield group


def _whole_records(file: int, start: int, size: int) -> tuple[int, str]:
    """Return where the whole records after `start` end, and what is wrong with the rest, or ""."""
    while start < size:
        header = os.pread(file, HEADER_BYTES, start)
        length = record_length(header)
        if length is None and len(header) == HEADER_BYTES:
            return start, _DAMAGED
        if length is None or start + HEADER_BYTES + length > size:
            return start, _CUT_SHORT
        start += HEADER_BYTES + length
    return (start, "") if start == size else (start, _DAMAGED)


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def _is_still(path: Path, file: int) -> bool:
    """Return whether an open file still has its name: it may have been rotated before it was locked."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _write_whole(file: int, end: int, parts: Sequence[bytes]) -> None:
    """Write all parts at the end of a file, or raise OSError and leave it as it was."""
    try:
        written = os.writev(file, parts)
        if written < sum(map(len, parts)):
            # The disk has become full: the next write fails with the reason, or succeeds after all.
            rest = memoryview(b"".join(parts))[written:]
            while rest:
                rest = rest[os.write(file, rest) :]
    except OSError:
        os.ftruncate(file, end)
        raise
