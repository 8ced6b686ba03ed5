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
