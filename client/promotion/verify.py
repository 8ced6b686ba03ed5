"""Compare a version's files with the checksums that its export recorded."""

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.errors import InputError
from signatures.contract.record import ExportRecord, RecordError, record_file


@dataclass(frozen=True)
class Verification:
    """What happened to the files of a version since it was exported. Names are paths below the directory.

    Attributes:
        intact: how many files are unchanged.
        changed: files with different content, and files that were replaced by a link, a directory or a device.
        missing: files that were exported and do not exist.
        added: files and links that the export did not write.
        unreadable: the reason for each file or directory that could not be read; they are neither intact nor changed.
        origin: where the export comes from, from its export.json.
    """

    directory: Path
    export_id: str
    intact: int
    changed: tuple[str, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    unreadable: Mapping[str, str]
    origin: Mapping[str, Any]

    @property
    def passed(self) -> bool:
        """Whether every file is as it was exported, and there are no others."""
        return not (self.changed or self.missing or self.added or self.unreadable)


def verify(directory: Path) -> Verification:
    """Compare every file of a version with its SHA-256 in export.json.

    A link counts as changed even if it leads to the same content, because that content could change. Empty directories
    do not count: copies and object stores drop them. Whoever can change the files can change export.json as well. Sign
    the directory to protect against that.

    Args:
        directory: the version's directory, `models/digits/1`.

    Raises:
        InputError: if the directory has no export.json, or one that lists no files.

    Example:
        >>> verify(Path("models/digits/1")).passed
        True
    """
    try:
        record = ExportRecord.read(directory)
    except RecordError as error:
        raise InputError(str(error)) from error
    if not isinstance(record.files, Mapping) or not record.files:
        raise InputError(f"{record_file(directory)} lists no files to compare with: export the model again")
    unreadable: dict[str, str] = {}
    changed, added, seen = [], [], set()
    for name, mode in _entries(directory, unreadable):
        seen.add(name)
        if name not in record.files:
            added.append(name)
            continue
        try:
            same = stat.S_ISREG(mode) and _digest(directory / name) == record.files[name]
        except OSError as error:
            unreadable[name] = error.strerror or str(error)
            continue
        if not same:
            changed.append(name)
    # What is below a directory that cannot be read is not known to be missing.
    hidden = tuple(f"{name}/" for name in unreadable)
    missing = [name for name in record.files if name not in seen and not name.startswith(hidden)]
    intact = len(seen & set(record.files)) - len(changed) - len(unreadable.keys() & seen)
    return Verification(
        directory=directory,
        export_id=record.export_id,
        intact=intact,
        changed=tuple(sorted(changed)),
        missing=tuple(sorted(missing)),
        added=tuple(sorted(added)),
        unreadable=unreadable,
        origin=record.origin,
    )


def _entries(directory: Path, unreadable: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Yield the name and mode of everything below a directory except directories and its export.json."""
    own = record_file(Path()).as_posix()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(directory / folder) as entries:
                found = sorted(
                    (f"{folder}{entry.name}", entry.stat(follow_symlinks=False).st_mode) for entry in entries
                )
        except OSError as error:
            unreadable[folder.rstrip("/")] = error.strerror or str(error)
            continue
        for name, mode in found:
            if stat.S_ISDIR(mode):
                waiting.append(f"{name}/")
            # A link in its place is not what an export wrote.
            elif name != own or not stat.S_ISREG(mode):
                yield name, mode


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
