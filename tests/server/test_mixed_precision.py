"""--mixed_precision=bfloat16: another backbone than was exported, which a check at CPU tolerance sees."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("stand_in_only")
ROOT = Path(__file__).parents[2]
SERVING_CLIENT = Path(sys.executable).parent / "serving-client"


@contextmanager
def serving(base_path, environment, *flags):
    """The address of a serve-model of digits, in a process of its own."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from server.cli import main; main()"),
            *("--port=0", "--model_name=digits", f"--model_base_path={base_path}", *flags),
        ],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield f"localhost:{re.search(r':([0-9]+) ', process.stdout.readline())[1]}"
    finally:
        process.kill()
        process.communicate()


def check(address, version):
    """The exit status of a check with the golden records, and its result."""
    command = [SERVING_CLIENT, "--address", address, "--model", "digits", "check", "--json", "--golden", version]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, json.loads(done.stdout)


# TensorFlow puts a graph into bfloat16 only where oneDNN and the CPU can compute with it.
@pytest.mark.parametrize("one_dnn", ["1", "0"])
def test_digits_in_bfloat16_have_another_backbone_and_keep_the_largest(digits_version, one_dnn):
    environment = {"TF_ENABLE_ONEDNN_OPTS": one_dnn}
    with serving(digits_version.parent, environment, "--mixed_precision=bfloat16") as address:
        status, result = check(address, digits_version)
    assert status == 1
    assert (result["identity"]["passed"], result["backbone"]["passed"]) == (True, False)
    # The optimizer may put the comparison with min_score into bfloat16, too: a score a little below it is kept then.
    fault = result["head"]["first_fault"]
    assert fault is None or "below its bound" in fault["message"]
    assert 1e-3 < result["backbone"]["largest_difference"] < 0.1


def test_another_mode_is_warned_of_and_changes_nothing(serve, make_version, base, client, capfd):
    make_version(base / "1", 1.001)
    ask = client(serve(model_base_path=base, mixed_precision="float16"))
    assert ask.scale(1) == pytest.approx([1.001], abs=1e-6)
    assert "float16 auto mixed precision is not supported. Valid option: bfloat16" in capfd.readouterr().err


def test_a_version_without_variables_is_loaded_all_the_same(serve, make_version, base, client):
    make_version(base / "1", without="variables")
    ask = client(serve(model_base_path=base, mixed_precision="bfloat16"))
    assert "Could not find variable" in ask.error({"x": [1.0]}, "scale")[1]
