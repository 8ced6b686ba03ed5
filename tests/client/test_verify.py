"""A version's files against its export.json: what was changed, what is gone, what was added."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from client import InputError
from client.cli import run
from client.promotion.verify import verify
from signatures.contract.record import ExportRecord, record_file

FILES = {
    "saved_model.pb": b"graph",
    "fingerprint.pb": b"",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"w" * 3_000_000,
    "assets.extra/golden_predictions": b"golden",
}
INTACT = {"changed": (), "missing": (), "added": (), "unreadable": {}}


@pytest.fixture
def directory(tmp_path):
    """A version as an export writes one."""
    version = tmp_path / "digits" / "1"
    for name, content in FILES.items():
        file = version / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (version / "assets").mkdir()
    record = ExportRecord(
        export_id="1" * 32,
        model="digits",
        k=2,
        labels=("a", "b"),
        preprocessing=None,
        golden_digest="",
        files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
    )
    record.write(version)
    return version


def found(directory):
    """What is wrong with a version; nothing where all is right."""
    result = verify(directory)
    said = {name: getattr(result, name) for name in INTACT}
    assert result.passed == (said == INTACT)
    return {name: value for name, value in said.items() if value}


def change_record(directory, **values):
    replace(ExportRecord.read(directory), **values).write(directory)


def test_a_version_as_it_was_exported_passes(directory):
    result = verify(directory)

    assert result.passed
    assert result.intact == len(FILES)
    assert result.export_id == "1" * 32


def test_a_version_that_the_exporter_published_passes(digits_version):
    result = verify(digits_version)

    assert result.passed
    assert result.intact > 4


def test_it_names_a_tampered_a_missing_and_an_added_file(directory):
    data = directory / "variables" / "variables.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[2_500_000] ^= 1
    data.write_bytes(content)
    (directory / "fingerprint.pb").unlink()
    (directory / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"")

    assert found(directory) == {
        "changed": ("variables/variables.data-00000-of-00001",),
        "missing": ("fingerprint.pb",),
        "added": ("assets.extra/tf_serving_warmup_requests",),
    }
    assert verify(directory).intact == len(FILES) - 2


def test_a_copy_that_was_cut_off_lacks_what_had_not_arrived(directory):
    shutil.rmtree(directory / "variables")

    assert found(directory) == {
        "missing": ("variables/variables.data-00000-of-00001", "variables/variables.index"),
    }


def test_empty_directories_do_not_count(directory):
    (directory / "assets").rmdir()
    (directory / "more" / "empty").mkdir(parents=True)

    assert found(directory) == {}


def test_a_link_is_no_file_whatever_it_leads_to(directory, tmp_path):
    for name in ("saved_model.pb", "variables"):
        (directory / name).rename(tmp_path / name)
        (directory / name).symlink_to(tmp_path / name)
    (directory / "assets" / "loop").symlink_to(directory)
    (directory / "assets" / "dangling").symlink_to("nowhere")

    assert found(directory) == {
        "changed": ("saved_model.pb",),
        "missing": ("variables/variables.data-00000-of-00001", "variables/variables.index"),
        "added": ("assets/dangling", "assets/loop", "variables"),
    }


def test_a_record_that_is_a_link_is_named(directory, tmp_path):
    record_file(directory).rename(tmp_path / "export.json")
    record_file(directory).symlink_to(tmp_path / "export.json")

    assert found(directory) == {"added": ("assets.extra/export.json",)}


def test_the_version_itself_may_be_a_link(directory, tmp_path):
    (tmp_path / "current").symlink_to(directory)

    assert found(tmp_path / "current") == {}


@pytest.mark.timeout(60)
def test_a_pipe_or_a_directory_in_the_place_of_a_file_is_named_and_not_waited_for(directory):
    for name in ("saved_model.pb", "fingerprint.pb"):
        (directory / name).unlink()
    os.mkfifo(directory / "saved_model.pb")
    (directory / "fingerprint.pb").mkdir()
    os.mkfifo(directory / "assets" / "pipe")

    assert found(directory) == {
        "changed": ("saved_model.pb",),
        "missing": ("fingerprint.pb",),
        "added": ("assets/pipe",),
    }


def test_what_cannot_be_read_is_neither_right_nor_missing(directory, monkeypatch):
    # The tests may run as root, who can read everything.
    scan, open_file = os.scandir, Path.open

    def refused(function, ending):
        def call(path, *arguments, **keywords):
            if str(path).rstrip("/").endswith(ending):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *arguments, **keywords)

        return call

    monkeypatch.setattr(os, "scandir", refused(scan, "variables"))
    monkeypatch.setattr(Path, "open", refused(open_file, "saved_model.pb"))

    assert found(directory) == {"unreadable": {"variables": "Permission denied", "saved_model.pb": "Permission denied"}}
    assert verify(directory).intact == len(FILES) - 3


def test_nothing_outside_the_directory_is_read_whatever_the_record_says(directory, tmp_path):
    outside = tmp_path / "secret"
    outside.write_bytes(b"secret")
    digest = hashlib.sha256(b"secret").hexdigest()
    files = dict(ExportRecord.read(directory).files)
    change_record(directory, files=files | {"../../secret": digest, str(outside): digest})

    assert found(directory) == {"missing": tuple(sorted(["../../secret", str(outside)]))}


def test_a_record_without_checksums_is_wrong_input(directory):
    change_record(directory, files={})

    with pytest.raises(InputError, match=r"export\.json lists no files to compare with"):
        verify(directory)


@pytest.mark.parametrize("content", [None, b"{", b"[]", b"\xff", b'{"export_id": "1"}'])
def test_a_directory_that_is_no_version_is_wrong_input(directory, content, capsys):
    record_file(directory).unlink()
    if content is not None:
        record_file(directory).write_bytes(content)

    assert run(["verify", str(directory)]) == 2
    assert "export.json" in capsys.readouterr().err


def test_the_command_answers_yes(directory, capsys):
    assert run(["verify", str(directory)]) == 0
    assert capsys.readouterr().out == f"{directory} is as exported: {len(FILES)} files compared.\n"


def test_the_command_answers_no_and_names_each_file(directory, capsys):
    (directory / "saved_model.pb").write_bytes(b"other")
    (directory / "fingerprint.pb").unlink()
    # A name that is no UTF-8, and one that would draw over the line.
    Path(os.fsdecode(os.fsencode(directory) + b"/\xff")).write_bytes(b"")
    (directory / "a\x1b[2Kb\nc").write_bytes(b"")

    assert run(["verify", str(directory)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "changed  saved_model.pb",
        "missing  fingerprint.pb",
        r"added  a\x1b[2Kb\nc",
        r"added  \xff",
        f"{directory} is not as exported; {len(FILES) - 2} of its files are.",
    ]


def test_json_is_one_object_with_the_same_answer(directory, capsys):
    (directory / "saved_model.pb").write_bytes(b"other")

    assert run(["verify", str(directory), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer.pop("origin")["export_id"] == "1" * 32
    assert answer == {
        "passed": False,
        "directory": str(directory),
        "export_id": "1" * 32,
        "intact": len(FILES) - 1,
        "changed": ["saved_model.pb"],
        "missing": [],
        "added": [],
        "unreadable": {},
    }
