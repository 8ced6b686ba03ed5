"""Where an export comes from is recorded in its export.json, and shown by what lists and verifies versions."""

import hashlib
import json
import subprocess

import keras
import pytest
from click.testing import CliRunner

from client.cli.commands import run as run_client
from exporter.cli.command import main
from exporter.origin import git_commit, source_digest
from signatures.contract.record import ExportRecord


def git(*arguments):
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    return subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit and a small model's file, which is not tracked; the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    git("init", "-q")
    (tmp_path / "train.py").write_text("1")
    git("add", "train.py")
    git("commit", "-qm", "first")
    keras.utils.set_random_seed(1)
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="sigmoid")]).save("toy.keras")
    return tmp_path


def export(*arguments):
    return CliRunner().invoke(main, ["toy.keras", *map(str, arguments)])


def test_an_export_records_commit_digest_and_metadata_and_every_list_shows_them(repository, capfd, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    assert export("--metadata", "run=42", "--metadata", "note=a=b").exit_code == 0
    record = ExportRecord.read(repository / "models" / "toy" / "1")
    commit = git("rev-parse", "HEAD")
    digest = hashlib.sha256((repository / "toy.keras").read_bytes()).hexdigest()
    assert (record.git_commit, record.source_digest) == (commit, digest)
    assert record.metadata == {"run": "42", "note": "a=b"}
    (listed,) = json.loads(export("--list", "--json").stdout)["versions"]
    assert (listed["git_commit"], listed["source_digest"], listed["metadata"]["run"]) == (commit, digest, "42")
    for shown in (commit[:12], "run=42"):
        assert shown in export("--list").stdout
    capfd.readouterr()
    assert run_client(["verify", str(repository / "models" / "toy" / "1")]) == 0
    out = capfd.readouterr().out
    for shown in (f"git commit: {commit}", f"source digest: {digest}", "run: 42"):
        assert shown in out


@pytest.mark.parametrize("pair", ["run", "=42"])
def test_metadata_of_another_form_are_refused(repository, pair):
    result = export("--metadata", pair)
    assert result.exit_code == 2
    assert "use KEY=VALUE" in result.stderr


def test_metadata_that_contradict_each_other_are_refused(repository):
    result = export("--metadata", "a=1", "--metadata", "a=2")
    assert result.exit_code == 2
    assert "both '1' and '2'" in result.stderr


def test_the_commit_is_that_of_the_repository_and_says_whether_files_differ_from_it(repository):
    commit = git("rev-parse", "HEAD")
    inside = repository / "models"
    inside.mkdir()
    assert git_commit(repository) == git_commit(inside) == commit
    (repository / "train.py").write_text("2")
    assert git_commit(inside) == f"{commit}-dirty"


def test_outside_a_repository_without_commits_or_without_git_there_is_none(tmp_path, monkeypatch):
    assert git_commit(tmp_path) is None
    monkeypatch.chdir(tmp_path)
    git("init", "-q")
    assert git_commit(tmp_path) is None
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None


def test_the_digest_of_a_directory_is_of_its_names_and_files(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_text("a")
    (tmp_path / "variables" / "index").write_text("b")
    names = ["saved_model.pb", "variables/index"]
    lines = subprocess.run(["sha256sum", *names], cwd=tmp_path, check=True, capture_output=True).stdout
    assert source_digest(tmp_path) == hashlib.sha256(lines).hexdigest()
    (tmp_path / "variables" / "index").rename(tmp_path / "index")
    assert source_digest(tmp_path) != hashlib.sha256(lines).hexdigest()
