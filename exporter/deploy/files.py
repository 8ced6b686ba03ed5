"""Write the files of `deploy/` atomically, and never over a user's edits."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from signatures.contract.locks import locked_directory

State: TypeAlias = Literal["written", "unchanged", "kept"]
Manifest: TypeAlias = dict[str, Any]

_RECORD = ".written.json"


@dataclass(frozen=True)
class WrittenFile:
    """The result of writing one file.

    Attributes:
        path: the file.
        state: "written"; "unchanged"; or "kept" if a user had edited the file, which stays as it is: the new text is
            then in `new`.
    """

    path: Path
    state: State

    @property
    def new(self) -> Path:
        """The file beside it for text that would overwrite a user's edits."""
        return self.path.with_name(f"{self.path.name}.new")


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a directory against other exporters and editors of its files, and create it if needed."""
    directory.mkdir(parents=True, exist_ok=True)
    with locked_directory(directory):
        yield


def write_unless_edited(file: Path, text: str) -> WrittenFile:
    """Write a file or, if a user has edited it since it was last written, write the text beside it.

    Another file in its directory records the SHA-256 of what was written.
    """
    written = WrittenFile(file, "written")
    file.parent.mkdir(parents=True, exist_ok=True)
    record = _read_record(file.parent)
    current = _digest(file.read_bytes()) if file.exists() else None
    digest = _digest(text.encode())
    if current == digest:
        written = WrittenFile(file, "unchanged")
    elif current is not None and current != record.get(file.name):
        written = WrittenFile(file, "kept")
        write_atomically(written.new, text)
        return written
    else:
        write_atomically(file, text)
    if record.get(file.name) != digest:
        write_atomically(
            file.parent / _RECORD, json.dumps(record | {file.name: digest}, indent=2, sort_keys=True) + "\n"
        )
    # An earlier run may have left it beside edits that are gone now.
    written.new.unlink(missing_ok=True)
    return written


def to_yaml(*documents: Manifest) -> str:
    """Return YAML as people write it: without aliases, with keys in order and multi-line strings as blocks."""
    text: str = yaml.dump_all(documents, Dumper=_PlainDumper, sort_keys=False, width=1000)
    return text


def write_atomically(file: Path, text: str) -> None:
    """Write a file so that a server that polls it sees either the old text or the new text.

    The new file is renamed into place, so mounts must be of its directory.
    """
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)


def _read_record(directory: Path) -> dict[str, str]:
    try:
        record = json.loads((directory / _RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        # Without a record every file counts as edited, which loses nothing.
        return {}
    return record if isinstance(record, dict) else {}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class _PlainDumper(yaml.SafeDumper):
    """Repeats a list or dict that is used twice; aliases are hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_PlainDumper.add_representer(str, _text)
