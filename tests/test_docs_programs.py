"""The programs in docs/why-not.md hold what they claim."""

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="the programs show what TensorFlow does")

PAGE = (Path(__file__).parents[1] / "docs" / "why-not.md").read_text("utf-8")
PROGRAMS = dict(re.findall(r"^## \.\.\. (.*?)\n.*?```python\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize("title", PROGRAMS)
def test_the_program_of_a_trap_holds_what_it_claims(title, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(PROGRAMS[title])
    runpy.run_path(str(program))


def test_every_trap_with_a_program_is_here():
    assert len(PROGRAMS) == PAGE.count("```python")
