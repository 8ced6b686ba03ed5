"""The guide numbers of CONTRIBUTING.md, and the exceptions that it gives reasons for."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
PACKAGES = ("signatures", "exporter", "client", "server")
MODULES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]
MOST_MODULES, MOST_LINES, MOST_LINES_OF_A_FUNCTION = 12, 299, 39


def name(path):
    return str(path.relative_to(ROOT))


def crowded_folders():
    for folder in sorted({file.parent for file in MODULES}):
        if sum(file.parent == folder and file.name != "__init__.py" for file in MODULES) > MOST_MODULES:
            yield f"{name(folder)}/"


def long_modules():
    return (name(file) for file in MODULES if len(file.read_text("utf-8").splitlines()) > MOST_LINES)


def length(function):
    """Return the lines of a function without its docstring and decorators."""
    first = function.body[0]
    docstring = first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0
    return function.end_lineno - function.lineno + 1 - docstring


def long_functions():
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > MOST_LINES_OF_A_FUNCTION:
                yield f"{name(file)}:{node.name}"


def test_what_is_larger_than_the_guide_says_has_a_reason_in_contributing():
    _, _, sizes = CONTRIBUTING.partition("\n## Sizes\n")
    explained = set(re.findall(r"^\| `(.+?)` \| .{10,} \|$", sizes, re.MULTILINE))
    larger = {*crowded_folders(), *long_modules(), *long_functions()}
    assert sorted(larger - explained) == [], "split it, or say under Sizes in CONTRIBUTING.md why more is clearer"
    assert sorted(explained - larger) == [], "no longer larger than the guide says: delete its row in CONTRIBUTING.md"


def test_contributing_names_only_what_is_there():
    paths = re.findall(r"`([\w.]+/[\w./]*)(?::\w+)?`", CONTRIBUTING)
    assert len(paths) > 30
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_ours_is_in_the_layout():
    layout = CONTRIBUTING.partition("\n## Repository layout\n")[2].partition("\n## ")[0]
    folders = {f"{name(file.parent)}/" for file in MODULES if len(file.relative_to(ROOT).parts) < 4}
    assert {folder for folder in folders if f"`{folder}`" not in layout} == set()
