"""What an export leaves behind when it is killed at any moment, or its disk fails: whole versions, or nothing."""

import hashlib
import json
import multiprocessing
import os
import random
import resource
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

SLOW_KILLS = 200


@pytest.fixture
def toy(tmp_path):
    """The file of a model with 1 MB of weights."""
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.Input((16,), name="features"), keras.layers.Dense(4096), keras.layers.Dense(48)]
    keras.Sequential([*layers, keras.layers.Dense(3, activation="sigmoid")]).save(tmp_path / "toy.keras")
    return tmp_path / "toy.keras"


class Watch:
    """What must stay true of a base path, whatever ends the exporters that write to it."""

    def __init__(self, base_path):
        self.base_path = base_path
        self.files = {}

    def look(self):
        """Every version is whole, and those that were there before are as they were."""
        present = [child for child in self.base_path.glob("*") if child.name.isdecimal()]
        for version in present:
            if version not in self.files:
                said = json.loads((version / "assets.extra" / "export.json").read_text())["files"]
                found = {
                    path.relative_to(version).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
                    for path in version.rglob("*")
                    if path.is_file() and path.name != "export.json"
                }
                assert found == said
                self.files[version] = {path: path.stat() for path in version.rglob("*")}
        for version, files in self.files.items():
            assert version in present
            assert {path: path.stat().st_mtime_ns for path in files} == {
                path: stat.st_mtime_ns for path, stat in files.items()
            }

    def assert_clean(self):
        """Nothing but versions is left, and the server is told of versions that there are."""
        self.look()
        left = {child.name for child in self.base_path.iterdir()} - {version.name for version in self.files}
        assert left == {".last_version"}


def forked():
    """Processes that begin with TensorFlow loaded, so that many can be had."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["exporter.pipeline", "exporter.cli.command"])
    return context


def exporting(context, model, output):
    # Neither a click command nor a test's function can be found by name in another process.
    code = f"from exporter.cli.command import main; main({[str(model), '--output', str(output), '--json']})"
    return context.Process(target=exec, args=(code, {}))


def when_staging(process, base_path):
    """Wait until an exporter has begun to write."""
    while process.is_alive() and not any(base_path.glob(".staging-*")):
        time.sleep(0.005)


def test_an_export_killed_at_any_moment_leaves_whole_versions_and_the_next_cleans_up(toy, tmp_path):
    output, context = tmp_path / "models", forked()
    watch = Watch(output / "toy")

    def start():
        process = exporting(context, toy, output)
        process.start()
        when_staging(process, watch.base_path)
        return process

    process, started = start(), time.monotonic()
    process.join()
    assert process.exitcode == 0
    writing = time.monotonic() - started

    for moment in (0.0, 0.2, 0.5, 0.8, 0.95):
        process = start()
        time.sleep(moment * writing)
        process.kill()
        process.join()
        watch.look()
    process = start()
    process.join()
    assert process.exitcode == 0
    watch.assert_clean()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_two_hundred_killed_exports(toy, tmp_path):
    output, context = tmp_path / "models", forked()
    watch = Watch(output / "toy")
    taken = []
    for _ in range(3):
        process = exporting(context, toy, output)
        started = time.monotonic()
        process.start()
        process.join()
        assert process.exitcode == 0
        taken.append(time.monotonic() - started)
    moments = random.Random(0)
    finished, staged = 0, 0
    for _ in range(SLOW_KILLS):
        process = exporting(context, toy, output)
        process.start()
        process.join(moments.uniform(0, 1.1 * min(taken)))
        finished += process.exitcode is not None
        process.kill()
        process.join()
        staged += any(watch.base_path.glob(".staging-*"))
        watch.look()
    process = exporting(context, toy, output)
    process.start()
    process.join()
    assert process.exitcode == 0
    watch.assert_clean()
    print(f"\n{SLOW_KILLS} exports: {finished} were done before they could be killed, {staged} left staging behind")
    assert staged > SLOW_KILLS / 10


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_eight_exporters_at_once_publish_forty_whole_versions(toy, tmp_path):
    from exporter.deploy import named_versions

    output, context = tmp_path / "models", forked()

    def export_five(_):
        codes = []
        for _ in range(5):
            process = exporting(context, toy, output)
            process.start()
            process.join()
            codes.append(process.exitcode)
        return codes

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(export_five, range(8))) == [[0] * 5] * 8
    watch = Watch(output / "toy")
    watch.assert_clean()
    assert sorted(int(version.name) for version in watch.files) == list(range(1, 41))
    assert named_versions(output, "toy") <= set(range(1, 41))


def assert_refused(done, words):
    assert done.returncode == 4, done.stderr
    assert done.stdout == ""
    (sentence,) = (line for line in done.stderr.splitlines() if line.startswith("export-model: "))
    assert words in sentence
    assert "Traceback" not in done.stderr


@pytest.fixture
def export_model(commands):
    """A function that runs the command."""

    def run(model, output, **how):
        words = [commands / "export-model", model, "--output", output]
        return subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, **how)

    return run


# Less than the golden records take, than the graph, and than the weights.
@pytest.mark.parametrize("limit", [200, 30_000, 500_000])
def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing(limit, export_model, toy, tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = export_model(toy, tmp_path / "models", preexec_fn=limited)

    assert_refused(done, "cannot be written to: File too large")
    assert not (tmp_path / "models").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 600 kB of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        not shutil.which("mount")
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", place], capture_output=True, check=False
        ).returncode
    ):
        pytest.skip("this process may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_is_full_is_one_sentence_and_leaves_nothing(export_model, toy, small_disk):
    assert_refused(export_model(toy, small_disk / "models"), "cannot be written to: No space left on device")
    assert list(small_disk.iterdir()) == []


def test_a_read_only_disk_is_one_sentence_and_keeps_what_is_there(export_model, toy, small_disk):
    version = small_disk / "models" / "toy" / "3"
    version.mkdir(parents=True)
    (version / "saved_model.pb").write_text("whole")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    assert_refused(export_model(toy, small_disk / "models"), "cannot be written to: Read-only file system")
    assert [path.name for path in small_disk.rglob("*")] == ["models", "toy", "3", "saved_model.pb"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_base_path_without_permission_is_one_sentence(export_model, toy, tmp_path):
    output = tmp_path / "models"
    output.mkdir(mode=0o555)
    assert_refused(export_model(toy, output), "cannot be written to: Permission denied")
    assert list(output.iterdir()) == []


def test_a_base_path_that_is_a_file_is_one_sentence_and_stays_one(export_model, toy, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "toy").write_text("a file")
    assert_refused(export_model(toy, tmp_path / "models"), "models/toy cannot be written to")
    assert (tmp_path / "models" / "toy").read_text() == "a file"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["toy"]
