"""The gate's script as a shell runs it, against the stand-in that serves a real export."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def served(digits_server):
    """The address of a stand-in that serves one version, as a candidate's server does."""
    return f"localhost:{digits_server.port}"


def run_gate(address, root):
    """Run the gate's script with the client that is installed here; return what the container would end with."""
    from exporter.deploy import gate
    from exporter.deploy.start import ServerStart

    start = ServerStart(image="tensorflow/serving:2.20.0", root=str(root))
    # The version that the gate was written for is not the one that is served, as after a rollback.
    candidate = gate.Candidate(start=start, model="digits", version=2)
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = gate.check_script(candidate, address)
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, env=environment)


def test_what_was_exported_is_let_through(served, digits_output):
    done = run_gate(served, digits_output)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["passed"]


def test_what_was_not_exported_is_stopped(served, digits_version, tmp_path):
    shutil.copytree(digits_version, tmp_path / "digits" / "1")
    record = tmp_path / "digits" / "1" / "assets.extra" / "export.json"
    said = json.loads(record.read_text())
    said["labels"] = said["labels"][::-1]
    record.write_text(json.dumps(said))

    done = run_gate(served, tmp_path)

    assert done.returncode == 1
    assert not json.loads(done.stdout)["passed"]


def test_golden_records_that_are_not_there_stop_it_too(served, tmp_path):
    done = run_gate(served, tmp_path)

    assert done.returncode == 2
    assert f"{tmp_path}/digits/1 cannot be read" in done.stderr


def test_a_server_out_of_reach_is_no_answer(tmp_path):
    done = run_gate("localhost:1", tmp_path)

    assert done.returncode == 3
    assert done.stdout == ""
