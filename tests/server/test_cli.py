"""serve-model as a process: flags, ports, signals."""

import errno
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner

from server.cli import main

pytestmark = pytest.mark.usefixtures("stand_in_only")
ROOT = Path(__file__).parents[2]


def without_tensorflow(flag):
    """Run the command with a flag, and fail if that imports TensorFlow."""
    code = f"import sys, server.cli as cli\ntry: cli.main(['{flag}'])\nfinally: assert 'tensorflow' not in sys.modules"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture(autouse=True)
def handlers_of_the_tests():
    """The command sets handlers of signals, in this process where a test calls it here."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def serve_model(commands, *arguments):
    """Run the command to its end."""
    words = [commands / "serve-model", *arguments]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)


def test_help_does_not_import_tensorflow():
    result = without_tensorflow("--help")
    assert result.returncode == 0, result.stderr
    assert "--model_base_path" in result.stdout


@pytest.mark.parametrize("flag", ["--prefer_tflite_model=true", "--saved_model_tags=serve", "--ssl_config_file=x"])
def test_a_flag_of_the_real_server_that_is_missing_here_is_refused_by_name(flag):
    result = CliRunner().invoke(main, [flag, "--model_base_path=/srv/m"])
    assert result.exit_code == 2
    name = flag.partition("=")[0]
    assert f"{name} is a flag of tensorflow_model_server that this stand-in does not have" in result.output


def test_version_names_the_server_that_is_imitated_and_does_not_import_tensorflow():
    result = without_tensorflow("--version")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("TensorFlow ModelServer: 2.20.0 (stand-in, sparsehead ")
    assert lines[1] == f"TensorFlow Library: {version('tensorflow')}"


def test_without_tensorflow_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(main, ["--model_base_path=/srv/m"])
    assert result.exit_code == 2
    assert "pip install 'sparsehead[export]'" in result.stderr


def test_a_misspelt_flag_is_refused_with_a_hint():
    result = CliRunner().invoke(main, ["--model_base_pat=/srv/m"])
    assert result.exit_code == 2
    assert "--model_base_path" in result.output


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        ([], 2, "Both server_options.model_base_path and server_options.model_config_file are empty!"),
        (
            ["--model_base_path=models"],
            2,
            "Expected model default to have an absolute path or URI; got base_path()=models",
        ),
        (["--model_config_file=/absent"], 2, "Cannot read /absent: No such file or directory"),
        (["--batching_parameters_file=/absent", "--model_base_path=/m"], 2, "without setting"),
        (["--monitoring_config_file=/absent", "--model_base_path=/m"], 2, "Cannot read /absent: No such file"),
        (
            ["--grpc_channel_arguments=grpc.max_connection_age_ms", "--model_base_path=/m"],
            2,
            "--grpc_channel_arguments has 'grpc.max_connection_age_ms', which is not key=value",
        ),
        (["--rest_api_port=65536", "--model_base_path=/m"], 2, "65536"),
        (["--rest_api_num_threads=0", "--model_base_path=/m"], 2, "0 is not in the range"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_sentence(commands, arguments, status, sentence):
    result = serve_model(commands, "--port=0", *arguments)
    assert result.returncode == status
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("retries", [0, -1])
def test_a_model_with_only_broken_versions_ends_the_server(launch, base, make_version, retries):
    make_version(base / "1", without="saved_model.pb")
    server = launch(model_base_path=base, max_num_load_retries=retries)
    assert server.process.wait(timeout=120) == 4
    log = server.log.read_text()
    assert (
        "UNKNOWN: 1 servable(s) did not become available: {{{name: scaler version: 1} due to error: NOT_FOUND:" in log
    )
    assert "Traceback" not in log


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--port={port}"], "Port {port} cannot be opened; another process may have it"),
        (["--port=0", "--rest_api_port={port}"], "The REST port {port} cannot be opened; another process may have it"),
        (
            ["--port=0", "--grpc_socket_path={base}/1/saved_model.pb"],
            "The UNIX socket {base}/1/saved_model.pb cannot be opened",
        ),
        (["--port=0", "--grpc_socket_path={base}/" + "x" * 107], "cannot be opened: choose another --grpc_socket_path"),
    ],
)
def test_a_busy_port_is_one_sentence(commands, base, make_version, flags, sentence):
    make_version(base / "1")
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = taken.getsockname()[1]
        flags = (flag.format(port=port, base=base) for flag in flags)
        result = serve_model(commands, f"--model_base_path={base}", *flags)
    assert result.returncode == 4
    assert sentence.format(port=port, base=base) in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_all_ports(start, free_port, base, make_version, client, tmp_path, number):
    make_version(base / "1", 2.0)
    rest_port = free_port()
    path = tmp_path / "grpc.sock"
    process = start(f"--model_base_path={base}", f"--rest_api_port={rest_port}", f"--grpc_socket_path={path}")
    try:
        grpc_port = int(re.search(r":(\d+) ", process.stdout.readline())[1])
        assert process.stdout.readline() == f"Running gRPC ModelServer at UNIX socket {path} ...\n"
        assert process.stdout.readline() == f"Exporting HTTP/REST API at:localhost:{rest_port} ...\n"
        kept = http.client.HTTPConnection("localhost", rest_port, timeout=30)
        kept.request("GET", "/v1/models/scaler")
        assert kept.getresponse().read()
        assert client(f"unix:{path}").scale(4) == [8]
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        kept.close()
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors
    for port in (grpc_port, rest_port):
        with socket.socket() as probe:
            assert probe.connect_ex(("localhost", port)) == errno.ECONNREFUSED
    assert not path.exists()


@pytest.fixture
def start(commands):
    """A function that starts the command."""

    def run(*arguments):
        words = [commands / "serve-model", "--port=0", "--model_name=scaler", *arguments]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return run


def test_port_zero_prints_the_port_and_sigterm_answers_what_is_in_flight(start, base, make_version, client):
    make_version(base / "1", 2.0)
    process = start(f"--model_base_path={base}", "--enable_batching=false")
    try:
        port = re.search(r":(\d+) ", process.stdout.readline())[1]
        ask = client(f"localhost:{port}")
        assert ask.scale(4) == [8]
        ask.predict({"steps": [1]}, "count")
        slow = ask.prediction.Predict.future(ask.request({"steps": [150_000]}, "count"), timeout=60)
        # Answered after the server has taken the other.
        assert ask.scale(4) == [8]
        assert not slow.done()
        process.send_signal(signal.SIGTERM)
        assert slow.result().outputs["steps"].int_val == [150_000]
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors
    with pytest.raises(grpc.RpcError):
        ask.scale(4)


def test_a_missing_base_path_is_said_and_sigterm_ends_the_wait(start, tmp_path):
    process = start(f"--model_base_path={tmp_path / 'absent'}")
    try:
        os.set_blocking(process.stderr.fileno(), True)
        line = ""
        while "absent" not in line:
            line = process.stderr.readline()
            assert line, "the server ended"
        assert re.search("Could not find base path .*/absent for servable scaler .*; waiting for it", line)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_the_package_is_light_to_import():
    code = "import sys, server\nserver.Settings()\nassert 'tensorflow' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--enable_batching"], True),
        (["--enable_batching=true"], True),
        (["--enable_batching=false"], False),
    ],
)
def test_a_boolean_flag_may_stand_alone_or_have_a_value(arguments, expected):
    with main.make_context("serve-model", [*arguments, "--model_name=m"]) as context:
        assert context.params["enable_batching"] is expected
        assert context.params["model_name"] == "m"
        assert context.params["enable_model_warmup"] is True
