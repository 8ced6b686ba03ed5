"""The server's models.config: read its labels, and change them in the text so that everything else stays as it is."""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from client.errors import InputError
from client.promotion.history import flush_directory
from client.rpc.messages import ModelServerConfig

_TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}<>\[\]:;,]|[^\s{}<>\[\]:;,#"']+""")


def labeled_versions(text: str, model: str) -> dict[str, int]:
    """Return the version of each label. Raises InputError if there is no such model."""
    return dict(sorted(_model_config(_parsed(text), model).version_labels.items()))


def base_path(text: str, model: str) -> str:
    """Return the directory of the model's versions. Raises InputError if there is no such model."""
    path: str = _model_config(_parsed(text), model).base_path
    return path


def with_label(text: str, model: str, label: str, version: int) -> str:
    """Return the text with one label moved to a version, or added. Comments and layout stay.

    Raises:
        InputError: if the text is not a models.config, or if it has no such model.
    """
    expected = _parsed(text)
    _model_config(expected, model).version_labels[label] = version
    changed = _edited(text, model, label, version)
    # Editing text is guesswork until the meaning of the result has been compared.
    if _parsed(changed) != expected:
        raise InputError(f"the label {label} cannot be changed in this models.config: write its entry on one level")
    return changed


def without_label(text: str, model: str, label: str) -> str:
    """Return the text without a label, as it was before `with_label` added the label.

    Raises:
        InputError: if the text is not a models.config, or if it has no such model.
    """
    expected = _parsed(text)
    _model_config(expected, model).version_labels.pop(label, None)
    changed = text
    for entry in _entries(text, model):
        for before, field in pairwise((_Field("", 0, entry.start + 1), *entry.fields)):
            if field.name == "version_labels" and _scalar(text, field, "key") == label:
                changed = text[: before.end] + text[field.end :]
    if _parsed(changed) != expected:
        raise InputError(f"the label {label} cannot be removed from this models.config: remove its entry by hand")
    return changed


def replace_text(path: Path, expected: str, text: str) -> None:
    """Replace a file's text as a whole, keeping its owner and permissions. Readers see the old or the new text.

    Raises:
        InputError: if the file does not hold the expected text, because another program has changed it.
    """
    path = path.resolve()
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        before = path.stat()
        with suppress(PermissionError):  # only root may give a file to others
            os.chown(name, before.st_uid, before.st_gid)
        os.chmod(name, before.st_mode & 0o7777)
        if path.read_bytes() != expected.encode():
            raise InputError(f"{path} was changed by another program in the meantime: run it again")
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    flush_directory(path.parent)


def _parsed(text: str) -> Any:
    try:
        return text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise InputError(f"the file is not a models.config: {error}") from error


def _model_config(config: Any, model: str) -> Any:
    for entry in config.model_config_list.config:
        if entry.name == model:
            return entry
    raise InputError(f"the models.config has no model {model}")


@dataclass(frozen=True)
class _Field:
    """A field of a text-format message: its name, the position of its value and, for a message, its fields."""

    name: str
    start: int
    end: int
    fields: tuple["_Field", ...] = ()


def _edited(text: str, model: str, label: str, version: int) -> str:
    for entry in _entries(text, model):
        for labeled in _named(entry.fields, "version_labels"):
            if _scalar(text, labeled, "key") == label:
                for value in _named(labeled.fields, "value"):
                    return f"{text[: value.start]}{version}{text[value.end :]}"
                return text
        last = entry.fields[-1]
        line = text[text.rfind("\n", 0, last.start) + 1 : last.start]
        indent = "\n" + line[: len(line) - len(line.lstrip())] if "\n" in text[entry.start : entry.end] else " "
        added = f"{indent}version_labels {{ key: {json.dumps(label, ensure_ascii=False)} value: {version} }}"
        return text[: last.end] + added + text[last.end :]
    return text


def _entries(text: str, model: str) -> Iterator[_Field]:
    for entry in _named(_fields(text), "model_config_list", "config"):
        if _scalar(text, entry, "name") == model:
            yield entry


def _named(fields: tuple[_Field, ...], name: str, *more: str) -> Iterator[_Field]:
    for field in fields:
        if field.name == name:
            yield from _named(field.fields, *more) if more else (field,)


def _scalar(text: str, field: _Field, name: str) -> str | None:
    for inner in field.fields:
        if inner.name == name:
            value = text[inner.start : inner.end]
            return value[1:-1] if value[:1] in "\"'" else value
    return None


def _fields(text: str) -> tuple[_Field, ...]:
    tokens = [match for match in _TOKEN.finditer(text) if not match.group().startswith("#")]
    fields, _ = _message(tokens, 0)
    return fields


def _message(tokens: list[re.Match[str]], position: int) -> tuple[tuple[_Field, ...], int]:
    """Read fields up to a closing brace or the end; return them and the position after."""
    fields: list[_Field] = []
    while position < len(tokens) and tokens[position].group() not in "}>":
        name = tokens[position].group()
        position += 1
        if name in ",;":
            continue
        if position < len(tokens) and tokens[position].group() == ":":
            position += 1
        listed = position < len(tokens) and tokens[position].group() == "["
        position += listed
        while position < len(tokens):
            first = tokens[position]
            if first.group() in "{<":
                inner, position = _message(tokens, position + 1)
                fields.append(_Field(name, first.start(), tokens[min(position, len(tokens)) - 1].end(), inner))
            else:
                fields.append(_Field(name, first.start(), first.end()))
                position += 1
            if not listed or position >= len(tokens) or tokens[position].group() == "]":
                break
            position += 1
        position += listed
    return tuple(fields), position + 1
