"""The code of "From a notebook" in docs/exporting.md, run as it stands there."""

import re
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

DOCS = Path(__file__).parents[1] / "docs" / "exporting.md"


def cells():
    section = DOCS.read_text("utf-8").partition("\n## From a notebook\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)


def test_the_cells_run_one_after_the_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for number, cell in enumerate(cells()):
        exec(compile(cell, f"cell {number}", "exec"), names)
    assert names["version"].path == Path("models/pets/1")
    assert names["result"].passed
    assert names["answer"]["labels"].shape == (5, 2)
