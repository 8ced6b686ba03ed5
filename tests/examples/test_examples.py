import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


def run(name, *arguments):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    result = CliRunner().invoke(module.main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize(("n_to_zero", "k"), [(2, 6), (4, 4)])
def test_the_answers_system_zeroes_the_smallest_and_says_how_to_serve_it(n_to_zero, k, tmp_path):
    output = tmp_path / "answer.keras"
    said = run("answer_mobilenetv2", "--image-size", "32", "--n-to-zero", str(n_to_zero), "--output", str(output))
    answers = [line for line in said.splitlines() if line.startswith("image")]
    assert [answer.count("0.0,") + answer.count("0.0]") for answer in answers] == [n_to_zero] * 4
    assert f"export-model {output} --k {k} --preprocessing tf" in said
    assert keras.saving.load_model(output).output_shape == (None, 8)


def test_the_questions_system_keeps_two_and_says_how_to_serve_it(tmp_path):
    output = tmp_path / "question.keras"
    said = run("question_resnet18", "--image-size", "65", "--output", str(output))
    answers = [line for line in said.splitlines() if line.startswith("image")]
    assert [answer.count("0.0,") + answer.count("0.0]") for answer in answers] == [6] * 4
    assert f"export-model {output} --k 2 --preprocessing torch" in said
    assert keras.saving.load_model(output).output_shape == (None, 8)


def test_the_digits_train_with_the_regularizer(tmp_path):
    output = tmp_path / "digits.keras"
    said = run("train_digits", "--images", "128", "--output", str(output))
    assert "head, k = 2" in said
    assert f"export-model {output} --k 2 --preprocessing unit" in said
    loaded = keras.saving.load_model(output)
    assert loaded.get_layer("probabilities").activity_regularizer.get_config() == {"k": 2, "weight": 0.1}


def test_the_demo_exports_serves_classifies_and_checks(commands, tmp_path):
    # It works in the directory above its own.
    (tmp_path / "examples").mkdir()
    shutil.copy(EXAMPLES / "demo.sh", tmp_path / "examples")
    (tmp_path / "exporter").symlink_to(ROOT / "exporter")
    environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}"}
    demo = ["bash", "examples/demo.sh"]
    done = subprocess.run(demo, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "04.png" in done.stdout
    assert "== PASSED: " in done.stdout.splitlines()[-1]
