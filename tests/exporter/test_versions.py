import fcntl
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from exporter import StoreError, VersionStore


def publish(store, content="weights"):
    with store.staging() as directory:
        (directory / "file").write_text(content)
        return store.publish(directory)


def names_in(path):
    return sorted(child.name for child in path.iterdir())


def test_numbers_rise_and_are_never_used_twice(tmp_path):
    store = VersionStore(tmp_path / "models" / "digits")

    assert [publish(store), publish(store)] == [1, 2]
    os.remove(store.base_path / "2" / "file")
    os.rmdir(store.base_path / "2")
    assert publish(store) == 3
    assert store.versions() == [1, 3]


def test_a_number_that_somebody_else_put_there_is_passed_over(tmp_path):
    store = VersionStore(tmp_path)
    (tmp_path / "41").mkdir()

    assert publish(store) == 42


def test_what_is_not_published_leaves_nothing(tmp_path):
    store = VersionStore(tmp_path / "models" / "digits")

    def fail():
        with store.staging() as directory:
            (directory / "file").write_text("half")
            raise RuntimeError("proof")

    with pytest.raises(RuntimeError, match="proof"):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_versions_before_it(tmp_path):
    store = VersionStore(tmp_path)
    publish(store)

    with pytest.raises(RuntimeError), store.staging():
        raise RuntimeError
    assert names_in(tmp_path) == [".last_version", "1"]


def test_a_base_path_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "models").write_text("a file")

    with (
        pytest.raises(StoreError, match="cannot be written to"),
        VersionStore(tmp_path / "models" / "digits").staging(),
    ):
        pass
    assert (tmp_path / "models").read_text() == "a file"


def test_a_directory_that_cannot_be_made_is_one_sentence():
    # /proc lets nobody make directories, not even root.
    store = VersionStore(Path("/proc/models/digits"))
    with pytest.raises(StoreError, match="/proc/models/digits cannot be written to"), store.staging():
        pass


def stage_and_wait(base_path, staged):
    with VersionStore(base_path).staging() as directory:
        (directory / "file").write_text("half")
        staged.set()
        time.sleep(60)


def test_what_a_killed_export_left_is_removed_by_the_next_and_a_living_one_is_let_be(tmp_path):
    context = multiprocessing.get_context("spawn")
    staged = [context.Event(), context.Event()]
    processes = [context.Process(target=stage_and_wait, args=(tmp_path, event)) for event in staged]
    try:
        for process, event in zip(processes, staged, strict=True):
            process.start()
            assert event.wait(60)
        os.kill(processes[0].pid, signal.SIGKILL)
        processes[0].join()

        assert publish(VersionStore(tmp_path)) == 1
        assert len([name for name in names_in(tmp_path) if name.startswith(".staging-")]) == 1
    finally:
        for process in processes:
            process.kill()
            process.join()
    assert publish(VersionStore(tmp_path)) == 2
    assert names_in(tmp_path) == [".last_version", "1", "2"]


def test_what_another_machine_may_still_be_writing_is_left_for_a_day(tmp_path):
    """Over NFS a lock on a directory is not seen by another machine."""
    for name, hours in (("fresh", 1), ("old", 25)):
        leftover = tmp_path / f".staging-another-{name}"
        leftover.mkdir()
        written = time.time() - 3600 * hours
        os.utime(leftover, (written, written))

    assert publish(VersionStore(tmp_path)) == 1
    assert names_in(tmp_path) == [".last_version", ".staging-another-fresh", "1"]


def test_an_exporter_of_another_machine_that_is_faster_keeps_its_number(tmp_path, monkeypatch):
    rename = Path.rename

    def rename_too_late(path, target):
        if target == tmp_path / "1":
            target.mkdir()
            (target / "file").write_text("another")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    assert publish(VersionStore(tmp_path)) == 2
    assert [(tmp_path / number / "file").read_text() for number in "12"] == ["another", "weights"]


def test_a_wanted_number_that_another_machine_takes_first_is_refused(tmp_path, monkeypatch):
    rename = Path.rename

    def rename_too_late(path, target):
        target.mkdir()
        (target / "file").write_text("another")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_too_late)
    store = VersionStore(tmp_path)
    with store.staging() as directory, pytest.raises(StoreError, match="Use 8 or more"):
        store.publish(directory, 7)
    assert (tmp_path / "7" / "file").read_text() == "another"


def test_a_last_version_that_somebody_broke_is_one_sentence(tmp_path):
    (tmp_path / ".last_version").write_text("")
    with pytest.raises(StoreError, match=r"\.last_version holds no number; write the highest version"):
        VersionStore(tmp_path).next_version()


def publish_some(base_path, count):
    for _ in range(count):
        publish(VersionStore(base_path), "whole")


def test_eight_exporters_at_once_get_forty_different_numbers(tmp_path):
    context = multiprocessing.get_context("spawn")
    base_path = tmp_path / "models" / "digits"
    processes = [context.Process(target=publish_some, args=(base_path, 5)) for _ in range(8)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)

    assert [process.exitcode for process in processes] == [0] * 8
    assert VersionStore(base_path).versions() == list(range(1, 41))
    assert all((base_path / str(n) / "file").read_text() == "whole" for n in range(1, 41))


def test_a_base_path_that_is_not_there_has_no_versions(tmp_path):
    store = VersionStore(tmp_path / "models" / "digits")
    assert (store.versions(), store.next_version()) == ([], 1)
    assert list(tmp_path.iterdir()) == []


def test_only_children_that_are_numbers_are_versions(tmp_path):
    for name in ("10", "9", "draft", "-3", "1.5", ".8"):
        (tmp_path / name).mkdir()
    assert VersionStore(tmp_path).versions() == [9, 10]


@pytest.mark.parametrize("wanted", [-1, 0, 6, 7])
def test_a_wanted_number_that_is_not_above_all_used_is_refused_with_the_next(tmp_path, wanted):
    store = VersionStore(tmp_path)
    (tmp_path / "7").mkdir()
    message = rf"Version {wanted} of {tmp_path} cannot be published: 7 was already used, .* Use 8 or more\."

    with store.staging() as directory, pytest.raises(StoreError, match=message):
        store.publish(directory, wanted)
    assert store.versions() == [7]


def test_a_number_that_no_server_can_read_is_refused_and_never_counted(tmp_path):
    store = VersionStore(tmp_path)
    (tmp_path / str(2**63)).mkdir()

    with store.staging() as directory, pytest.raises(StoreError, match=rf"use {2**63 - 1} or less"):
        store.publish(directory, 2**63)
    assert publish(store) == 1
    assert store.versions() == [1]


@pytest.mark.parametrize("wanted", [8, 9, 1000])
def test_a_wanted_number_above_all_used_is_taken(tmp_path, wanted):
    store = VersionStore(tmp_path)
    (tmp_path / "7").mkdir()

    with store.staging() as directory:
        assert store.publish(directory, wanted) == wanted
    assert store.versions() == [7, wanted]
    assert store.next_version() == wanted + 1


def test_the_first_number_is_1_and_0_is_never_one(tmp_path):
    store = VersionStore(tmp_path)
    assert store.next_version() == store.next_version(1) == 1
    with pytest.raises(StoreError, match="Use 1 or more"):
        store.next_version(0)


@pytest.mark.parametrize(
    ("keep", "spare", "left"),
    [(1, [], [5]), (2, [], [4, 5]), (2, [1, 3], [1, 3, 4, 5]), (5, [], [1, 2, 3, 4, 5]), (9, [], [1, 2, 3, 4, 5])],
)
def test_pruning_leaves_the_newest_and_those_to_spare(tmp_path, keep, spare, left):
    store = VersionStore(tmp_path)
    for _ in range(5):
        publish(store)

    assert store.prune(keep, spare) == sorted({1, 2, 3, 4, 5} - {*left})
    assert names_in(tmp_path) == [".last_version", *map(str, left)]
    assert all((tmp_path / str(version) / "file").exists() for version in left)


def test_what_cannot_be_deleted_does_not_keep_anyone_from_publishing_and_pruning(tmp_path, monkeypatch):
    store = VersionStore(tmp_path)
    for _ in range(2):
        publish(store)

    def refuse(*args, **kwargs):
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(os, "unlink", refuse)
    assert store.prune(1) == [1]
    with store.staging() as directory:
        (directory / "file").write_text("weights")
        assert store.publish(directory) == 3
    assert [name for name in names_in(tmp_path) if not name.startswith(".staging-")] == [".last_version", "2", "3"]


def test_a_failed_version_is_kept_on_the_error_that_asks_for_it_and_no_other(tmp_path):
    store = VersionStore(tmp_path)

    def fail(error):
        with store.staging(keep_on=StoreError) as directory:
            (directory / "file").write_text("half")
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError())
    assert names_in(tmp_path) == []
    with pytest.raises(StoreError) as caught:
        fail(StoreError("proof"))
    (kept,) = tmp_path.iterdir()
    assert kept.name.startswith(".failed-")
    assert caught.value.__notes__ == [f"The failed version is kept in {kept}."]
    assert (kept / "file").read_text() == "half"
    assert publish(store) == 1
    assert kept.exists()


def test_all_of_a_version_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    flushed = []
    fsync = os.fsync

    def record(descriptor):
        flushed.append((os.fstat(descriptor).st_ino, (tmp_path / "1").exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store = VersionStore(tmp_path)
    with store.staging() as directory:
        (directory / "variables").mkdir()
        for name in ("saved_model.pb", "variables/weights"):
            (directory / name).write_text("content")
        store.publish(directory)

    whole = [tmp_path / "1", *(tmp_path / "1").rglob("*"), tmp_path / ".last_version"]
    assert {path.stat().st_ino for path in whole} <= {inode for inode, visible in flushed if not visible}
    # Then the name is, and those of the directories above it, which may be new as well.
    assert {(path.stat().st_ino, True) for path in (tmp_path, tmp_path.parent)} <= set(flushed)


def test_a_base_path_that_vanishes_while_it_is_locked_is_made_again(tmp_path, monkeypatch):
    """As another exporter makes it vanish, which fails and takes back the empty directory that it made."""
    base_path = tmp_path / "models" / "digits"
    flock, mkdir = fcntl.flock, Path.mkdir
    vanish = {"after mkdir": 2, "before flock": 2}

    def mkdir_then_vanish(path, *arguments, **options):
        mkdir(path, *arguments, **options)
        if path == base_path and vanish["after mkdir"]:
            vanish["after mkdir"] -= 1
            path.rmdir()

    def vanish_then_flock(descriptor, operation):
        if vanish["before flock"]:
            vanish["before flock"] -= 1
            base_path.rmdir()
        flock(descriptor, operation)

    monkeypatch.setattr(Path, "mkdir", mkdir_then_vanish)
    monkeypatch.setattr(fcntl, "flock", vanish_then_flock)
    assert publish(VersionStore(base_path)) == 1
    assert vanish == {"after mkdir": 0, "before flock": 0}
    assert (base_path / "1" / "file").exists()


def test_a_base_path_that_always_vanishes_is_one_sentence(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def mkdir_in_vain(path, *arguments, **options):
        mkdir(path, *arguments, **options)
        if path.name == "digits":
            path.rmdir()

    monkeypatch.setattr(Path, "mkdir", mkdir_in_vain)
    with (
        pytest.raises(StoreError, match="digits cannot be written to: No such file or directory"),
        VersionStore(tmp_path / "digits").staging(),
    ):
        pass


def test_no_descriptor_stays_open(tmp_path):
    store = VersionStore(tmp_path / "digits")

    def everything():
        publish(store)
        store.prune(1)
        with pytest.raises(RuntimeError), store.staging():
            raise RuntimeError

    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        everything()
    assert len(os.listdir("/proc/self/fd")) == before
