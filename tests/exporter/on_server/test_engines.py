"""`export-model --validate-on` with docker, podman and kubectl, as its user meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import kubernetes_validate
import pytest

from exporter import ValidationError
from exporter.store.listing import read_record
from exporter.validation.on_server.reproduce import write_script
from exporter.validation.on_server.servers.container import ContainerServer
from exporter.validation.on_server.servers.pod import PodServer
from exporter.validation.on_server.target import Target

EXPORT_MODEL = Path(sys.executable).with_name("export-model")
CPU, GPU = "tensorflow/serving:2.20.0", "tensorflow/serving:2.20.0-gpu"


def export_model(output, *arguments):
    """Run the one on the PATH, which need not load TensorFlow first."""
    return subprocess.run(
        ["export-model", "--output", output, *arguments], capture_output=True, text=True, timeout=280, check=False
    )


@pytest.fixture
def small(tmp_path):
    """The file of a model that is exported sooner than the preset, where what is exported is all the same."""
    import keras

    layers = [keras.Input((4,), name="features"), keras.layers.Dense(3, activation="sigmoid")]
    keras.Sequential(layers).save(tmp_path / "digits.keras")
    return tmp_path / "digits.keras"


def assert_refused(done, status, words, output, engines):
    assert done.returncode == status, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not output.exists()
    assert engines.running() == []


def is_alive(process):
    """Whether it runs; one that has ended, and that nobody waited for, is a zombie."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def flags_of(words, image):
    return words[words.index(image) + 1 :]


def test_two_images_in_one_run_are_served_as_the_printed_line_serves_and_recorded(engines, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_GPU", "1")
    output = tmp_path / "models"
    done = export_model(
        output, "--validate-on", "docker", "--validate-on", f"podman:{CPU}", "--serving-root", "/models2"
    )

    assert done.returncode == 0, done.stderr
    assert f"On docker:{GPU}, server 2.20.0" in " ".join(done.stdout.split())
    first, second = read_record(output / "digits" / "1").validated_on
    assert (first["target"], first["passed"]) == (f"docker:{GPU}", True)
    assert first["device"] == "GPU NVIDIA A100-SXM4-40GB, compute capability 8.0"
    assert (second["target"], second["device"]) == (f"podman:{CPU}", "CPU")
    assert first["server"].startswith("2.20.0")
    assert first["malformed_requests"] == second["malformed_requests"] > 50
    ((*_,), *_) = engines.calls("docker", "pull")
    (docker,) = engines.calls("docker", "run")
    (podman,) = engines.calls("podman", "run")
    assert {"--gpus=1", "--env=TF_FORCE_GPU_ALLOW_GROWTH=true"} <= set(docker)
    assert not any("gpu" in word for word in podman)
    (mount,) = (word for word in docker if word.endswith("target=/models2/digits/1,readonly"))
    assert str(output / "digits" / ".staging-") in mount
    # The server's flags are those of the line that a user is told, but for what it polls and tries again.
    (line,) = (line for line in done.stdout.splitlines() if line.strip().startswith("docker run"))
    printed = set(flags_of(line.split(), GPU)) - {"--model_config_file_poll_wait_seconds=30"}
    assert set(flags_of(docker, GPU)) == printed | {"--max_num_load_retries=0"}
    assert engines.running() == []
    assert {child.name for child in (output / "digits").iterdir()} == {"1", ".last_version"}


def test_a_pod_serves_the_copied_files_and_is_deleted(engines, tmp_path):
    output = tmp_path / "models"
    done = export_model(output, "--validate-on", f"kubectl:{CPU}")

    assert done.returncode == 0, done.stderr
    (verdict,) = read_record(output / "digits" / "1").validated_on
    assert (verdict["target"], verdict["passed"], verdict["device"]) == (f"kubectl:{CPU}", True, "CPU")
    pod = json.loads((engines.state / "last_pod.json").read_text())
    for version in ("1.27", "1.37"):
        kubernetes_validate.validate(pod, version, strict=True)
    # The Service of the real servers must not find it, and nobody's failure may leave it there.
    assert pod["metadata"]["labels"] == {"app.kubernetes.io/name": "sparsehead-validation"}
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] > 600
    assert "persistentVolumeClaim" not in json.dumps(pod)
    assert engines.running() == []
    # Each client that ended took the forwarding with it.
    forwarding = [int(process) for process in (engines.state / "forwarding").read_text().split()]
    assert len(forwarding) > 2
    assert not any(is_alive(process) for process in forwarding)


def test_an_image_for_a_gpu_where_there_is_none_is_a_sentence_with_a_way_out(engines, small, tmp_path):
    done = export_model(tmp_path / "models", small, "--validate-on", "docker")
    assert_refused(
        done, 2, "name an image for the CPU, as in docker:tensorflow/serving:2.20.0", tmp_path / "models", engines
    )
    assert 'could not select device driver ""' in done.stderr


@pytest.mark.parametrize(
    ("engine", "words"), [("docker", "cannot fetch nosuch:2.20.0"), ("kubectl", "Back-off pulling")]
)
def test_an_image_that_cannot_be_fetched_is_a_sentence(engines, small, tmp_path, engine, words):
    done = export_model(tmp_path / "models", small, "--validate-on", f"{engine}:nosuch:2.20.0")
    assert_refused(done, 2, words, tmp_path / "models", engines)


@pytest.mark.parametrize(
    ("engine", "number", "status"), [("docker", signal.SIGINT, 130), ("kubectl", signal.SIGTERM, 143)]
)
def test_a_signal_removes_the_server_and_the_staged_version(engines, small, tmp_path, engine, number, status):
    output = tmp_path / "models"
    process = subprocess.Popen(
        [EXPORT_MODEL, small, "--output", output, "--validate-on", f"{engine}:{CPU}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A signal to the group, as a terminal sends it.
        start_new_session=True,
    )
    ports = {"docker": "containers/*/port", "kubectl": "pods/*/port"}[engine]
    until = time.monotonic() + 120
    while not any(engines.state.glob(ports)):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.05)
    (server,) = (int(pid.read_text()) for pid in wait_for(engines.state, ports.replace("port", "pid")))
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=120)

    assert process.returncode == status, said
    assert "Traceback" not in said
    assert engines.running() == []
    assert not is_alive(server)
    assert not output.exists()


def wait_for(directory, pattern):
    while not (found := [path for path in directory.glob(pattern) if path.read_text().strip()]):
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    ("kind", "engine", "removal"),
    [(ContainerServer, "docker", ["rm", "--force"]), (PodServer, "kubectl", ["delete", "pod"])],
)
def test_the_script_of_an_engine_that_refuses_ends_and_removes_what_it_made(
    engines, kind, engine, removal, staged, servable, work
):
    server = kind(Target(engine, CPU, engine), servable(staged), work)
    write_script(server, servable(staged), ValidationError("It's refused."), gpu=True)

    script = staged / "reproduce.sh"
    assert len(script.read_text().splitlines()) <= 20
    # The fake engine does not know how to start what the script starts.
    done = subprocess.run([script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "syntax" not in done.stderr.lower()
    assert len(engines.calls(engine)) >= 2
    assert len(engines.calls(engine, *removal)) == 1


def test_a_version_that_a_container_refuses_is_kept_with_a_script_and_nothing_else(engines, small, tmp_path):
    """The server in the container is told to refuse by a configuration of batching that it does not know."""
    output = tmp_path / "models"
    (output / "deploy").mkdir(parents=True)
    (output / "deploy" / "batching.config").write_text("no_such_parameter: 1\n")
    done = export_model(output, small, "--validate-on", f"docker:{CPU}", "--keep-failed")

    assert done.returncode == 1, done.stderr
    assert "cannot serve this version: it ended with status 2. Its last words:" in done.stderr
    assert "no_such_parameter" in done.stderr
    assert engines.running() == []
    (kept,) = (output / "digits").iterdir()
    assert kept.name.startswith(".failed-")
    assert str(kept) in done.stderr
    script = (kept / "reproduce.sh").read_text()
    assert len(script.splitlines()) <= 20
    assert subprocess.run(["sh", "-n", kept / "reproduce.sh"], check=False).returncode == 0
    assert "no_such_parameter" in (kept / "reproduce" / "batching.config").read_text()
    assert "docker run --detach" in script
    assert 'source=$PWD,target=/models/digits/1,readonly"' in script
