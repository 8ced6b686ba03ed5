"""A staged version that a server cannot serve is refused for its reason, and the server is gone afterwards."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from exporter import ExportError, ExportOptions, ValidationError, export, load_classifier
from exporter.validation.on_server import check, readiness
from exporter.validation.on_server.servers.binary import BinaryServer
from exporter.validation.on_server.target import Target
from exporter.validation.on_server.validate import validate_on_server
from signatures import Batching
from signatures.contract import names
from signatures.contract.record import ExportRecord


@pytest.fixture(autouse=True)
def nothing_left_behind(monkeypatch):
    """Every server that a test starts has ended when it is over."""
    started = []
    start = BinaryServer.start

    def remember(server):
        start(server)
        started.append(server)

    monkeypatch.setattr(BinaryServer, "start", remember)
    yield
    assert all(server.ended() for server in started)


def program(path, script):
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Target("binary", "", str(path))


def warm_up_with(version, *requests):
    with tf.io.TFRecordWriter(str(version / names.ASSETS_EXTRA / names.WARMUP_FILE)) as writer:
        for request in requests:
            writer.write(request.SerializeToString())


def test_a_good_version_passes_on_a_program_of_this_machine(
    binary, staged, servable, work, tmp_path_factory, monkeypatch
):
    # Where a user has a package called like ours.
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "client").mkdir()
    (elsewhere / "client" / "__init__.py").touch()
    monkeypatch.chdir(elsewhere)
    verdict = validate_on_server(binary, servable(staged), work)

    assert (verdict.passed, verdict.target, verdict.device) == (True, binary.program, "CPU")
    assert verdict.server.startswith("2.20.0")
    assert verdict.tensorflow.startswith("2.")
    assert verdict.answers > 100
    assert verdict.malformed_requests > 50
    assert verdict.not_asked == []
    assert verdict.startup_seconds > 0
    # Nothing is added to what is going to be published.
    assert {path.name for path in staged.iterdir()} >= {"saved_model.pb", "variables"}
    assert not (staged / "reproduce.sh").exists()


def test_the_servers_own_batching_passes_with_its_parameters(binary, staged, servable, work):
    from exporter.deploy.messages import batching_config
    from exporter.store.follow_up import server_parameters

    batching = batching_config(server_parameters(Batching(max_batch_size=16, num_batch_threads=1)))
    verdict = validate_on_server(binary, servable(staged, batching=batching), work)

    assert verdict.passed
    assert (work / "deploy" / "batching.config").read_text() == batching


def test_a_version_without_its_variables_is_refused(binary, staged, servable, work):
    shutil.rmtree(staged / "variables")
    with pytest.raises(ValidationError, match=r"cannot (serve|load) this version") as caught:
        validate_on_server(binary, servable(staged), work)
    assert "Its last words:" in str(caught.value)
    assert "FAILED_PRECONDITION" in str(caught.value) or "variable" in str(caught.value)


def test_a_version_without_variables_and_without_warm_up_is_refused_by_the_check(binary, staged, servable, work):
    """A server loads it, and says that it is available."""
    shutil.rmtree(staged / "variables")
    (staged / names.ASSETS_EXTRA / names.WARMUP_FILE).unlink()
    with pytest.raises(ValidationError, match=r"serves this version, and its answers are not those of the export"):
        validate_on_server(binary, servable(staged), work)


def test_a_version_whose_warm_up_fails_is_refused_and_its_script_reproduces_it(
    binary, staged, servable, work, free_port
):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "digits"
    log.predict_log.request.model_spec.signature_name = "nosuch"
    warm_up_with(staged, log)
    with pytest.raises(ValidationError, match='Serving signature key "nosuch" not found') as caught:
        validate_on_server(binary, servable(staged), work, keep_failed=True)

    script = staged / "reproduce.sh"
    assert len(script.read_text().splitlines()) <= 20
    assert "last words" not in script.read_text()
    assert any("reproduce.sh" in note for note in caught.value.__notes__)
    # As what is kept: elsewhere, and without what was there while it was validated.
    kept = staged.rename(staged.with_name(".failed-1"))
    shutil.rmtree(work)
    done = run_script(kept, free_port)
    assert done.returncode != 0
    assert 'Serving signature key "nosuch" not found' in done.stdout


def run_script(kept, free_port):
    """Run the script on ports that are free, as other tests may be using the usual ones."""
    script = kept / "reproduce.sh"
    text = script.read_text()
    for usual in ("8500", "8501"):
        text = text.replace(usual, str(free_port()))
    script.write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        [script], env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The directory of a version that XLA compiles."""
    import keras

    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="sigmoid")])
    file = tmp_path_factory.mktemp("model") / "toy.keras"
    model.save(file)
    options = ExportOptions(jit_compile=True, image="tensorflow/serving:2.20.0")
    return export(load_classifier(str(file)), tmp_path_factory.mktemp("models"), k=1, options=options).path


def test_a_version_that_xla_compiles_is_refused_by_a_server_without_the_flag(binary, compiled, servable, work):
    with pytest.raises(ValidationError, match="XLA compilation disabled") as caught:
        validate_on_server(binary, servable(compiled, "toy", jit_compile=False), work)
    assert "it needs --xla_cpu_compilation_enabled" in str(caught.value)


def test_a_version_that_xla_compiles_passes_where_its_export_says_so(binary, compiled, servable, work):
    assert validate_on_server(binary, servable(compiled, "toy", jit_compile=True), work).passed


def test_a_version_that_is_not_the_exported_one_is_refused_and_its_script_finds_it_too(
    binary, staged, servable, work, free_port
):
    record = ExportRecord.read(staged)
    replace(record, export_id="0" * 32).write(staged)
    with pytest.raises(ValidationError, match=r"not those of the export: identity") as caught:
        validate_on_server(binary, servable(staged), work, keep_failed=True)
    assert "0" * 32 in str(caught.value)

    shutil.rmtree(work)
    done = run_script(staged, free_port)
    assert done.returncode == 1
    assert "identity" in done.stdout


def test_a_server_that_is_never_ready_is_given_up_at_the_deadline(tmp_path, staged, servable, work):
    target = program(tmp_path / "sleeper", "echo Starting; exec sleep 600")
    with pytest.raises(ValidationError, match=r"did not have this version available after 1 s") as caught:
        validate_on_server(target, servable(staged, patience=1), work)
    assert str(caught.value).endswith("\n  Starting")


def test_a_server_that_waits_for_files_for_ever_is_not_waited_for(tmp_path, staged, servable, work, monkeypatch):
    monkeypatch.setattr(readiness, "_DYING_SECONDS", 0.1)
    words = "FileSystemStoragePathSource encountered a filesystem access error: Could not find base path /models/digits"
    target = program(tmp_path / "waiter", f"echo '{words}'; exec sleep 600")
    with pytest.raises(ValidationError, match="cannot load this version") as caught:
        validate_on_server(target, servable(staged), work)
    assert words in str(caught.value)


def test_a_server_that_ends_is_refused_with_how_it_ended(tmp_path, staged, servable, work):
    target = program(tmp_path / "dying", "echo 'F tensor_shape.cc:357] Check failed: index >= 0'; kill -ABRT $$")
    with pytest.raises(ValidationError, match=r"cannot serve this version: it was ended by SIGABRT") as caught:
        validate_on_server(target, servable(staged), work)
    assert str(caught.value).endswith("\n  F tensor_shape.cc:357] Check failed: index >= 0")


def test_a_server_that_ends_while_it_is_checked_is_refused_with_its_last_words(
    tmp_path, binary, staged, servable, work, monkeypatch
):
    """As one does that the largest batch takes the memory of."""
    script = f'{binary.program} "$@" & echo $! >{tmp_path}/pid; wait; echo Killed; kill -9 $$'
    target = program(tmp_path / "greedy", script)
    kill = f"kill -9 $(cat {tmp_path}/pid); echo 'serving-client: connection refused' >&2; exit 3"
    monkeypatch.setattr(check, "_PROGRAM", ("sh", "-c", kill))
    with pytest.raises(ValidationError, match="greedy did not survive the check: it was ended by SIGKILL") as caught:
        validate_on_server(target, servable(staged), work)
    assert "Killed" in str(caught.value)


def test_a_program_for_another_machine_is_one_sentence_about_the_program(tmp_path, staged, servable, work):
    (tmp_path / "server").write_bytes(b"\x7fELF nothing")
    (tmp_path / "server").chmod(0o755)
    with pytest.raises(ExportError, match=r"server cannot be started: Exec format error"):
        validate_on_server(Target("binary", "", str(tmp_path / "server")), servable(staged), work)
