"""benchmarks/gpu_tolerances.py, as far as it runs without a GPU."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_tolerances.py"


def run(*arguments):
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, check=False)


@pytest.mark.skipif(find_spec("jax") is not None, reason="JAX is here")
def test_without_jax_it_says_what_to_install():
    done = run()
    assert done.returncode == 1
    assert done.stderr == "Error: this needs JAX, and a GPU: pip install 'jax[cuda12]'\n"


def test_without_a_gpu_it_says_that_there_is_nothing_to_measure():
    jax = pytest.importorskip("jax", reason="needs JAX")
    if any(device.platform == "gpu" for device in jax.devices()):
        # With one, the script measures for minutes instead.
        pytest.skip("there is a GPU")
    done = run()
    assert done.returncode == 1
    assert "JAX finds no GPU here" in done.stderr


def test_it_compares_precisions_where_there_is_only_a_cpu(tmp_path):
    pytest.importorskip("jax", reason="needs JAX")
    file = tmp_path / "found.json"
    options = ("--on-cpu", "--model", "digits", "--precision", "float32", "--precision", "bfloat16")
    done = run(*options, "--largest-batch", "2", "--json", str(file))
    assert done.returncode == 0, done.stderr
    assert "Nothing of this was computed on a GPU." in done.stdout
    found = json.loads(file.read_text())
    assert not found["on_gpu"]
    largest = {row["precision"]: row["deviation"]["largest"] for row in found["rows"]}
    assert largest["float32"] < 1e-5 < 1e-3 < largest["bfloat16"]
