"""`history.jsonl` beside a models.config: a line for each move of a label.

The beginning of a line is written before the move and its end after it. A last line without an end is a move that is
under way or was cut off. Complete lines never change.
"""

import getpass
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client.errors import InputError

HISTORY_FILE = "history.jsonl"

# Outcomes. A move that was cut off was put back by a later run.
MOVED, PUT_BACK, CUT_OFF = "moved", "put back", "cut off"

PROMOTE, ROLLBACK = "promote", "rollback"

# The beginning of a line ends with this. No JSON string contains it, because the quotes would be escaped.
_OUTCOME = ', "outcome": '
# Keys that are Python keywords or too short for field names.
_KEYS = {"old": "from", "new": "to"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One move of a label.

    Attributes:
        time: when it began, in ISO 8601 (UTC).
        command: `promote` or `rollback`.
        file: the name of the models.config.
        old: the version that had the label; None for a new label.
        new: the version that it moves to.
        verdict: the verdict of the check of the new version.
        replicas: the addresses of the servers.
        message: why, in the user's words.
        export: where the new version comes from, from its export.json; empty without one.
        outcome: MOVED, PUT_BACK or CUT_OFF; None for a move without an end.
        finished: when it ended.
        error: why it was put back.
    """

    time: str
    user: str
    host: str
    command: str
    file: str
    model: str
    label: str
    old: int | None
    new: int
    verdict: str = ""
    replicas: tuple[str, ...] = ()
    message: str = ""
    export: Mapping[str, Any] = field(default_factory=dict)
    outcome: str | None = None
    finished: str | None = None
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the keys and values of the line."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}


def now() -> str:
    """Return the time, in ISO 8601 (UTC)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def user() -> str:
    """Return the name of the user, or the number if there is no name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return f"uid {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def history_file(config: Path) -> Path:
    """Return the history file of a models.config, or of the file that it links to."""
    return config.resolve().with_name(HISTORY_FILE)


def read_history(config: Path) -> tuple[Entry, ...]:
    """Return the moves, the oldest first. The last one has no outcome if it is under way or was cut off.

    Raises:
        InputError: if the history cannot be read.
    """
    file = history_file(config)
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}") from error
    lines = content.split(b"\n")
    entries = [
        _entry(line, f"{file}, line {number}") for number, line in enumerate(lines[:-1], start=1) if line.strip()
    ]
    if last := _without_torn_end(lines[-1]):
        entries.append(_entry(last if last.endswith(b"}") else last + b"null}", f"{file}, its last line"))
    return tuple(entries)


def begin(config: Path, entry: Entry) -> None:
    """Write the beginning of a line, before the move is made. The previous move must have ended."""
    beginning = entry.as_json()
    for name in ("outcome", "finished", "error"):
        del beginning[name]
    _append(config, json.dumps(beginning)[:-1] + _OUTCOME)


def end(config: Path, outcome: str, error: str = "") -> None:
    """Write the end of the last line, after the move was made or put back."""
    ending = {"finished": now(), "error": error}
    _append(config, f"{json.dumps(outcome)}, {json.dumps(ending)[1:]}\n")


def trail(entries: Iterable[Entry], current: int) -> list[int]:
    """Return the versions that a label went through to its current one, the oldest first.

    A rollback takes its step off the trail, so that the next one goes further back and none goes forward.

    Args:
        entries: the moves of this label.
        current: the version that the label has now. Other programs move labels too.
    """
    versions: list[int] = []
    for entry in entries:
        if entry.outcome != MOVED:
            continue
        if entry.old is not None:
            versions = _extend_or_cut(versions, entry.old)
        if entry.command == ROLLBACK:
            versions = _extend_or_cut(versions[:-1], entry.new)
        elif versions[-1:] != [entry.new]:
            versions.append(entry.new)
    return _extend_or_cut(versions, current)


def _extend_or_cut(versions: Sequence[int], current: int) -> list[int]:
    """Return the trail to the current version, to which another program may have moved the label.

    A version that the label had before counts as a step back. Otherwise, the next rollback would undo that step.
    """
    for place in range(len(versions) - 1, -1, -1):
        if versions[place] == current:
            return list(versions[: place + 1])
    return [*versions, current]


def _entry(line: bytes, where: str) -> Entry:
    try:
        content = json.loads(line)
        values = {
            name: content[key] for name in Entry.__dataclass_fields__ if (key := _KEYS.get(name, name)) in content
        }
        entry = Entry(**{**values, "replicas": tuple(values.get("replicas", ()))})
        texts = (entry.time, entry.user, entry.host, entry.command, entry.file, entry.model, entry.label)
        versions = (entry.new,) if entry.old is None else (entry.new, entry.old)
        if {*map(type, texts)} != {str} or {*map(type, versions)} != {int}:
            raise ValueError("a value is of the wrong type")
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{where} is not what promote writes: {error}") from error
    return entry


def _without_torn_end(line: bytes) -> bytes:
    """Return the part of a last line that was written completely: the whole line, its beginning, or nothing."""
    if line.endswith(b"}"):
        try:
            json.loads(line)
        except ValueError:
            pass
        else:
            return line
    beginning, marker, _ = line.rpartition(_OUTCOME.encode())
    return beginning + marker


def _append(config: Path, text: str) -> None:
    file = history_file(config)
    new = not file.exists()
    with file.open("ab+") as stream:
        stream.seek(0)
        content = stream.read()
        last = content[content.rfind(b"\n") + 1 :]
        kept = _without_torn_end(last)
        stream.truncate(len(content) - len(last) + len(kept))
        stream.write((b"\n" if kept.endswith(b"}") else b"") + text.encode())
        stream.flush()
        os.fsync(stream.fileno())
    if new:
        flush_directory(file.parent)


def flush_directory(directory: Path) -> None:
    """Flush a directory's list of files to disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
