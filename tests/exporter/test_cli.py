"""`export-model` as a user meets it: what it prints, its exit status, and what it leaves behind."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from exporter.cli.command import main

EXPORT_MODEL = Path(sys.executable).with_name("export-model")


def export_model(*arguments, cwd):
    return subprocess.run([EXPORT_MODEL, *arguments], cwd=cwd, capture_output=True, text=True, timeout=200, check=False)


def run(*arguments):
    """The command in this process, where TensorFlow is loaded already."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def first_export(tmp_path_factory):
    """An empty directory in which `export-model --k 2` was run."""
    directory = tmp_path_factory.mktemp("empty")
    return directory, export_model("--k", "2", cwd=directory)


def test_the_main_job_prints_signatures_where_the_version_is_and_what_to_run_next(first_export):
    directory, done = first_export

    assert done.returncode == 0, done.stderr
    assert (directory / "models" / "digits" / "1" / "saved_model.pb").exists()
    for words in ("serving_default", "top_k", "export_info", "models/digits/1", "serve-model", "serving-client"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


def test_a_second_export_in_another_process_is_the_same_to_the_byte_but_for_its_id(first_export):
    directory, _ = first_export

    done = export_model("--k", "2", "--json", cwd=directory)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["path"] == "models/digits/2"
    assert (summary["version"], summary["model"], summary["k"]) == (2, "digits", 2)
    assert {"serving_default", "top_k", "fixed_k", "export_info"} <= set(summary["signatures"])
    assert summary["seconds"] > 0
    first, second = (directory / "models" / "digits" / version for version in "12")
    files = {path.relative_to(first).as_posix() for path in first.rglob("*") if path.is_file()}
    different = {file for file in files if (first / file).read_bytes() != (second / file).read_bytes()}
    assert different == {"assets/export_id", "assets.extra/export.json"}
    records = [json.loads((version / "assets.extra" / "export.json").read_text()) for version in (first, second)]
    for record in records:
        del record["created"], record["warmup_seconds"], record["export_id"], record["files"]["assets/export_id"]
    assert records[0] == records[1]


def test_saved_model_cli_shows_the_declared_shapes(first_export):
    directory, _ = first_export
    done = subprocess.run(
        [EXPORT_MODEL.with_name("saved_model_cli"), "show", "--all", "--dir", directory / "models" / "digits" / "1"],
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert "signature_def['serving_default']" in done.stdout
    assert "(-1, 32, 32, 1)" in done.stdout
    assert "(-1, 8)" in done.stdout


def test_help_does_not_wait_for_tensorflow():
    done = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-c",
            "import sys; sys.argv = ['x', '--help']; import exporter.cli.command; exporter.cli.command.main()",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "Usage:" in done.stdout
    assert "tensorflow" not in done.stderr
    assert "keras" not in done.stderr


def save(model, path):
    model.save(path)
    return path


def lambda_model():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2), keras.layers.Dense(3, activation="sigmoid")]
    )


def four_dimensional():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3, activation="sigmoid")])


def logits():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones", bias_initializer="ones")]
    )


def bad_arguments(directory):
    """What a user can get wrong, and a word that the sentence must hold."""
    (directory / "empty.keras").write_bytes(b"")
    (directory / "text.keras").write_text("not a model")
    with zipfile.ZipFile(directory / "escapes.keras", "w") as archive:
        archive.writestr("../escaped.txt", "outside")
    whole = save(logits(), directory / "logits.keras").read_bytes()
    (directory / "truncated.keras").write_bytes(whole[: len(whole) // 2])
    (directory / "a_file").write_text("")
    return {
        ("nowhere.keras",): "does not exist",
        (directory,): "is not a .keras file",
        (directory / "empty.keras",): "could not be loaded as a Keras model",
        (directory / "text.keras",): "could not be loaded as a Keras model",
        (directory / "escapes.keras",): "could not be loaded as a Keras model",
        (directory / "truncated.keras",): "could not be loaded as a Keras model",
        (save(lambda_model(), directory / "lambda.keras"),): "--allow-unsafe",
        (save(four_dimensional(), directory / "four.keras"),): "[B, 6, 6, 2]",
        (directory / "logits.keras",): "--activation sigmoid",
        ("no.such.module:factory",): "could not be imported",
        ("digits", "--name", "deploy"): "cannot be a model's name",
        ("digits", "--k", "0"): "k = 0",
        ("digits", "--k", "9"): "from 1 to 8",
        ("digits", "--signature", "nonesuch"): "cannot have the signature 'nonesuch'",
        ("digits", "--max-batch-size", "8"): "--batching in-graph",
        ("digits", "--batching", "in-graph", "--max-batch-size", "2000"): "max_request_size is 1024",
        ("digits", "--batching", "in-graph", "--max-batch-size", "4", "--max-request-size", "8"): "use at least 16",
        ("digits", "--batching", "server", "--max-request-size", "64"): "--max-batch-size limits requests, too",
        ("digits", "--samples", directory / "a_file"): "holds no samples",
        (directory / "logits.keras", "--activation", "sigmoid", "--preprocessing", "unit"): "does not take images",
    }


def test_what_a_user_gets_wrong_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    source, output = tmp_path / "source", tmp_path / "output"
    source.mkdir()
    for arguments, word in bad_arguments(source).items():
        result = run(*arguments, "--output", output)
        said = [line for line in result.stderr.splitlines() if "export-model: " in line]
        assert result.exit_code == 2, (arguments, result.output)
        assert len(said) == 1, (arguments, result.stderr)
        assert word in said[0], arguments
        assert result.stdout == ""
        assert not output.exists(), arguments
    assert not (tmp_path / "escaped.txt").exists()


def test_k_that_is_no_number_is_wrong_usage(tmp_path):
    result = run("--k", "many", "--output", tmp_path / "output")
    assert result.exit_code == 2
    assert "'many' is not a valid integer" in result.stderr


@pytest.mark.parametrize("output", ["a file", "/proc"])
def test_an_output_that_cannot_be_written_is_status_4(tmp_path, output):
    if output == "a file":
        output = tmp_path / "file"
        output.write_text("")
    result = run("digits", "--output", output)
    assert result.exit_code == 4
    assert "cannot be written to" in result.stderr.replace("\n", " ")


def test_without_tensorflow_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = run("digits", "--output", tmp_path / "output")
    assert result.exit_code == 2
    assert "pip install 'sparsehead[export]'" in result.stderr


def test_samples_of_ones_own_become_the_golden_records(tmp_path):
    model = keras.Sequential([keras.Input((4,), name="features"), keras.layers.Dense(3, activation="sigmoid")])
    save(model, tmp_path / "toy.keras")
    features = np.random.default_rng(0).random((3, 4), np.float32)
    np.savez(tmp_path / "samples.npz", inputs=features)
    result = run(tmp_path / "toy.keras", "--samples", tmp_path / "samples.npz", "--output", tmp_path / "out")
    assert result.exit_code == 2
    assert "the model's inputs are ['features']" in result.stderr.replace("\n", " ")

    np.savez(tmp_path / "samples.npz", features=features)
    result = run(tmp_path / "toy.keras", "--samples", tmp_path / "samples.npz", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    golden = tmp_path / "out" / "toy" / "1" / "assets.extra" / "golden_predictions"
    assert len(list(tf.data.TFRecordDataset(str(golden)))) == 3


def test_a_lambda_layer_exports_when_it_is_allowed(tmp_path):
    save(lambda_model(), tmp_path / "lambda.keras")
    result = run(tmp_path / "lambda.keras", "--allow-unsafe", "--output", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "out" / "lambda" / "1").exists()


def test_strict_is_the_old_name_of_require_gpu_kernels():
    from click.testing import CliRunner

    from exporter.cli.command import main
    from exporter.cli.options import export_options

    shown = CliRunner().invoke(main, ["--help"]).output
    assert "--require-gpu-kernels" in shown
    assert "--strict" not in shown
    for flag in ("--require-gpu-kernels", "--strict"):
        given = main.make_context("export-model", [flag]).params
        assert export_options(given).require_gpu_kernels
    assert not export_options(main.make_context("export-model", []).params).require_gpu_kernels
