"""Modules of the user's own, in the working directory, beside folders that are called as ours are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from exporter import ExportError, SourceOptions, load_classifier
from exporter.sources import user_modules

BIN = Path(sys.executable).parent

LAYERS = """
import keras

@keras.saving.register_keras_serializable("user")
class Doubled(keras.layers.Layer):
    def call(self, tensor):
        return tensor * 2
"""
FACTORIES = """
import keras

def build():
    # Imported only now, as some do to start faster.
    from user_layers import Doubled
    layers = [keras.Input((3,), name="x"), Doubled(), keras.layers.Dense(2, activation="sigmoid")]
    return keras.Sequential(layers)

def broken():
    return 1 / 0

def wrong():
    return "a model"
"""


@pytest.fixture
def directory(tmp_path, monkeypatch):
    """A working directory with a module of layers and one of factories."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user_layers.py").write_text(LAYERS)
    (tmp_path / "user_factories.py").write_text(FACTORIES)
    yield tmp_path
    for name in ("user_layers", "user_factories", "user_broken"):
        sys.modules.pop(name, None)


def test_a_factory_in_the_working_directory_is_found_and_so_is_what_it_imports(directory):
    before = list(sys.path)
    assert list(load_classifier("user_factories:build").inputs.specs) == ["x"]
    assert sys.path == before


def test_custom_objects_in_the_working_directory_are_found(directory):
    load_classifier("user_factories:build").model.save("toy.keras")
    options = SourceOptions(custom_objects=["user_layers"])
    assert load_classifier("toy.keras", options).name == "toy"


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("user_factories:nonesuch", "The module user_factories has no function 'nonesuch'"),
        ("user_factories:wrong", "returned a str, not a Keras model"),
        (
            "user_factories:broken",
            r"user_factories:broken failed: ZeroDivisionError: division by zero \(.*user_factories.py, line 11\)",
        ),
        ("user_absent:build", "user_absent could not be imported: No module named 'user_absent'"),
        ("user_broken:build", r"user_broken could not be imported: NameError: .*'nonesuch' .*user_broken.py, line 2\)"),
    ],
)
def test_what_is_wrong_with_a_users_module_is_one_sentence(directory, source, complaint):
    (directory / "user_broken.py").write_text("\nnonesuch\n")
    with pytest.raises(ExportError, match=complaint) as refused:
        load_classifier(source)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["server", "signatures", "exporter"])
def test_a_module_with_the_name_of_ours_is_not_taken_for_ours(directory, name):
    (directory / f"{name}.py").write_text(FACTORIES)
    with pytest.raises(ExportError, match=f"{name} has the name of a package of sparsehead: rename it"):
        load_classifier(f"{name}:build")
    assert user_modules.import_module("user_layers").Doubled


@pytest.mark.parametrize("kind", ["packages", "modules", "bare folders"])
def test_the_commands_work_beside_folders_and_files_that_are_called_as_ours_are(directory, kind):
    for name in ("client", "server", "signatures", "exporter"):
        if kind == "modules":
            (directory / f"{name}.py").write_text("raise SystemExit('the wrong one')")
            continue
        (directory / name).mkdir()
        if kind == "packages":
            (directory / name / "__init__.py").write_text("raise SystemExit('the wrong one')")

    def run(command, *arguments):
        return subprocess.run([BIN / command, *arguments], capture_output=True, text=True, timeout=300, check=False)

    done = run("export-model", "user_factories:build", "--custom-objects", "user_layers", "--json", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["model"] == "build"
    for command in ("serving-client", "serve-model"):
        done = run(command, "--version")
        assert done.returncode == 0, done.stderr
    done = run("serving-client", "--address", "localhost:1", "--model", "toy", "--timeout", "0.1", "status")
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
