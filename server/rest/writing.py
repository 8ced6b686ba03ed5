"""JSON text as the server's PrettyWriter lays it out, and requests quoted in messages."""

import contextlib
import json
from collections.abc import Sequence
from typing import Any

from server.rest.numbers import write_double, write_quoted_double

# A quoted request ends with the token that reaches this length.
_QUOTE_LENGTH = 256


class _FullError(Exception):
    pass


class PrettyWriter:
    """Collects JSON, four spaces a level.

    Args:
        limit: how many bytes may be written before it raises an error; None for any number.

    Attributes:
        single_line: whether the items of lists follow each other on one line.

    """

    def __init__(self, limit: int | None = None) -> None:
        self.single_line = False
        self._limit = limit
        self._parts: list[str] = []
        self._size = 0
        # For each open list or object: whether it is a list, and how many items it has; names count as items.
        self._open: list[tuple[bool, int]] = []

    def text(self) -> str:
        """Return what was written."""
        return "".join(self._parts)

    def token(self, token: str) -> None:
        """Write a number, a literal, or a string that is quoted already; in an object names take turns with values."""
        self._put(self._separator() + token)

    def string(self, value: str) -> None:
        """Write a string or, in an object, a name."""
        self.token(json.dumps(value, ensure_ascii=False))

    def row(self, items: Sequence[str]) -> None:
        """Write a list of tokens at once."""
        self.begin("[")
        if items:
            self.token(items[0])
            between = ", " if self.single_line else f",\n{self._indent()}"
            self._put("".join(f"{between}{item}" for item in items[1:]))
            self._open[-1] = (True, len(items))
        self.end()

    def begin(self, bracket: str) -> None:
        """Open a list or an object."""
        self._put(self._separator() + bracket)
        self._open.append((bracket == "[", 0))

    def end(self) -> None:
        """Close the list or object that was opened last."""
        is_list, items = self._open.pop()
        is_spread = items and not (is_list and self.single_line)
        self._put((f"\n{self._indent()}" if is_spread else "") + ("]" if is_list else "}"))

    def _indent(self) -> str:
        return "    " * len(self._open)

    def _separator(self) -> str:
        if not self._open:
            return ""
        is_list, items = self._open[-1]
        self._open[-1] = (is_list, items + 1)
        if not is_list and items % 2:
            return ": "
        comma = "," if items else ""
        if is_list and self.single_line:
            return comma and ", "
        return f"{comma}\n{self._indent()}"

    def _put(self, text: str) -> None:
        self._parts.append(text)
        if self._limit is not None:
            self._size += len(text.encode("utf-8", "surrogateescape"))
            if self._size >= self._limit:
                raise _FullError


def show(value: Any) -> str:
    """Quote a part of a request in a message, cut where the server cuts it."""
    if isinstance(value, float):
        return write_double(value)
    writer = PrettyWriter(_QUOTE_LENGTH)
    writer.single_line = True
    with contextlib.suppress(_FullError):
        _write(writer, value)
    return writer.text()


def _write(writer: PrettyWriter, value: Any) -> None:
    if isinstance(value, list):
        writer.begin("[")
        for item in value:
            _write(writer, item)
        writer.end()
    elif isinstance(value, dict):
        writer.begin("{")
        for name, item in value.items():
            writer.string(name)
            _write(writer, item)
        writer.end()
    elif isinstance(value, str):
        writer.string(value)
    elif isinstance(value, float):
        if (text := write_quoted_double(value)) is None:
            raise _FullError
        writer.token(text)
    else:
        writer.token(json.dumps(value))
