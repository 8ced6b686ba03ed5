"""Once a version is published, the export succeeds: whatever goes wrong after that is a warning."""

import json
import os
import shutil
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

import exporter.deploy.server_files
from exporter.cli.command import main
from exporter.store.versions import VersionStore


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A directory with a small model's file, whose versions 1 and 2 are published."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    keras.utils.set_random_seed(1)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid")]).save("toy.keras")
    summary_of()
    summary_of()
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(main, ["toy.keras", *map(str, arguments)])


def summary_of(*arguments):
    result = run("--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def versions():
    return VersionStore(Path("models/toy")).versions()


UNREADABLE = {
    "no protobuf text": b"model_config_list {",
    "a custom config": b'custom_model_config { type_url: "x" }',
    "not UTF-8": b"# gr\xf6\xdfe\n",
    "UTF-16": "model_config_list {}".encode("utf-16"),
    "binary": bytes(range(256)),
}


@pytest.mark.parametrize("content", UNREADABLE.values(), ids=UNREADABLE)
def test_a_models_config_that_cannot_be_read_raised_after_publishing(content, published):
    config = published / "models" / "deploy" / "models.config"
    config.write_bytes(content)

    summary = summary_of("--keep", 1)

    assert (summary["version"], summary["removed"]) == (3, [])
    # Nobody knows which of them a server needs.
    assert versions() == [1, 2, 3]
    assert config.read_bytes() == content
    assert any("Some older versions of toy that --keep" in warning for warning in summary["warnings"])
    shown = run("--keep", 1)
    assert shown.exit_code == 0
    assert "models.config" in shown.stdout
    assert "Published models/toy/4" in shown.stdout


def broken_disk(*_arguments, **_named):
    raise OSError(28, "No space left on device", "models/deploy/compose.yaml")


@pytest.mark.parametrize("place", ["a file in its place", "no space"])
def test_server_files_that_cannot_be_written_are_a_warning_and_nothing_is_removed(place, published, monkeypatch):
    if place == "no space":
        monkeypatch.setattr(exporter.deploy.server_files, "write_unless_edited", broken_disk)
    else:
        shutil.rmtree("models/deploy")
        (published / "models" / "deploy").write_text("a file")

    summary = summary_of("--keep", 1)

    assert (summary["version"], summary["removed"]) == (3, [])
    assert versions() == [1, 2, 3]
    written, kept = (warning for warning in summary["warnings"] if "made up" not in warning)
    assert written.startswith("Version 3 is published, but not every file in models/deploy was written: ")
    assert kept == "No older version of toy was removed: it is unknown which of them a server needs."
    assert "Dry run" not in run().stdout


def test_an_old_version_that_cannot_be_removed_is_a_warning(published, monkeypatch):
    summary_of()
    summary_of()
    rename = os.rename
    removed = []

    def one_and_no_more(path, target):
        if path.name.isdecimal() and target.name.startswith(".staging-"):
            removed.append(path.name)
            if len(removed) > 1:
                raise OSError(5, "Input/output error", str(path))
        rename(path, target)

    monkeypatch.setattr("pathlib.Path.rename", one_and_no_more)
    summary = summary_of("--keep", 1)

    assert (summary["version"], summary["removed"]) == (5, [3])
    assert versions() == [1, 2, 4, 5]
    assert any("Input/output error" in warning for warning in summary["warnings"])


def test_golden_records_that_cannot_be_moved_into_place_stay_where_the_warning_says(published, monkeypatch):
    replace = os.replace

    def refuse(path, target):
        if str(target) == "golden":
            raise PermissionError(13, "Permission denied", str(path))
        return replace(path, target)

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    summary = summary_of("--golden-output", "golden")

    assert summary["version"] == 3
    said = [warning for warning in summary["warnings"] if "golden" in warning]
    assert len(said) == 1
    assert said[0].startswith("The golden records stay in golden.unvalidated, not in golden: ")
    assert (published / "golden.unvalidated").stat().st_size > 100


def test_golden_records_in_the_place_of_a_directory_are_refused_before_publishing(published):
    (published / "golden").mkdir()
    result = run("--golden-output", "golden")
    assert result.exit_code == 2
    assert "it is a directory" in result.stderr
    assert versions() == [1, 2]


def test_a_disk_that_fails_after_the_rename_has_published_all_the_same(published, monkeypatch):
    def broken(directory):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("exporter.store.versions._flush", broken)
    # Before the rename it is refused, as ever.
    assert run().exit_code == 4
    assert versions() == [1, 2]
    flushed = []

    def broken_at_last(directory):
        flushed.append(directory.name)
        if directory.name == "toy":
            raise OSError(5, "Input/output error")

    monkeypatch.setattr("exporter.store.versions._flush", broken_at_last)
    assert summary_of()["version"] == 3
    assert flushed[-1] == "toy"
