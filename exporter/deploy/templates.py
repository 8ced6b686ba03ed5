"""Fill in the files in `templates/`: YAML with placeholders such as <name>."""

import re
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import yaml

from exporter.deploy.files import Manifest, to_yaml

_DIRECTORY = Path(__file__).with_name("templates")
_PLACEHOLDER = re.compile(r"<(\w+)>")


def read_template(name: str) -> str:
    """Return a template's text."""
    return (_DIRECTORY / name).read_text(encoding="utf-8")


def fill_text(text: str, values: Mapping[str, object]) -> str:
    """Replace every placeholder in a text."""
    return _PLACEHOLDER.sub(lambda match: str(values[match[1]]), text)


def fill(name: str, values: Mapping[str, object]) -> str:
    """Return a filled-in file: the template's top comment and its documents, without other comments."""
    return fill_text(top_comment(name), values) + to_yaml(*fill_documents(name, values))


def top_comment(name: str) -> str:
    """Return the comment that a template begins with."""
    return "".join(takewhile(lambda line: line.startswith("#"), read_template(name).splitlines(keepends=True)))


def fill_documents(name: str, values: Mapping[str, object]) -> list[Manifest]:
    """Return the documents of a template.

    A placeholder that is a whole value may stand for anything; if it stands for None, its key is left out.
    """
    return [_filled(document, values) for document in yaml.safe_load_all(read_template(name))]


def _filled(node: Any, values: Mapping[str, object]) -> Any:
    match node:
        case dict():
            filled = {key: _filled(value, values) for key, value in node.items()}
            return {key: value for key, value in filled.items() if value is not None}
        case list():
            return [_filled(each, values) for each in node]
        case str():
            whole = _PLACEHOLDER.fullmatch(node)
            return values[whole[1]] if whole else fill_text(node, values)
    return node
