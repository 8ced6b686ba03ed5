"""The tutorial's commands, run one after the other in an empty directory."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

TUTORIAL = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text("utf-8")
PREAMBLE = """set -e
trap 'kill $(jobs -p)' EXIT
"""


def script(port):
    """The tutorial as a script: the first Python block is train.py, others are run."""
    lines = []
    for number, (language, block) in enumerate(re.findall(r"```(sh|python)\n(.*?)```", TUTORIAL, re.DOTALL)):
        if language == "python":
            file = "step.py" if number else "train.py"
            block = f"cat > {file} <<'END'\n{block}END\n" + ("python step.py\n" if number else "")
        lines.append(block)
    return PREAMBLE + "\n".join(lines).replace("8500", str(port))


@pytest.mark.timeout(600)
def test_the_tutorial_works_as_it_stands(tmp_path):
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script(port)],
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "COLUMNS": "110"},
        capture_output=True,
        text=True,
        check=False,
        timeout=560,
    )
    assert done.returncode == 0, done.stdout + done.stderr + (tmp_path / "server.log").read_text()
    (tmp_path / "output.txt").write_text(done.stdout)
    assert "What is served is what was expected" in done.stdout
    assert done.stdout.count("stable") >= 3
