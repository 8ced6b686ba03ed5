"""The notebook runs from top to bottom; its committed outputs come from such a run."""

import re
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("tensorflow", reason="the notebook trains, exports and serves")
nbclient = pytest.importorskip("nbclient", reason="runs the notebook")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "digits.ipynb"


def printed(notebook):
    """Return what the code cells print, and the kinds of everything else that they show."""
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.text for output in shown if output.output_type == "stream" and output.name == "stdout")
    kinds = [kind for output in shown if output.output_type == "display_data" for kind in output.data]
    return text, kinds


# The kernel is another process; its own libraries warn in this one's event loop.
@pytest.mark.filterwarnings("default")
@pytest.mark.timeout(300)
def test_the_notebook_runs_and_shows_what_it_showed(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    committed, committed_kinds = printed(notebook)
    nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    text, kinds = printed(notebook)
    assert "check passed: True" in text
    # Training differs in its last digits from machine to machine.
    assert re.sub(r"[\d.]+", "N", text) == re.sub(r"[\d.]+", "N", committed)
    assert sorted(kinds) == sorted(committed_kinds) == ["image/png", "text/plain"]
