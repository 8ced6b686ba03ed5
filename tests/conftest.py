"""What several folders of tests need. TensorFlow is imported by the fixtures that use it, never here."""

import os
import random
import shlex
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with suppress(ImportError):
    from hypothesis import HealthCheck, settings

    # The same examples in every run, however slow the machine is; `--hypothesis-profile default` draws others.
    slow = [HealthCheck.too_slow]
    settings.register_profile("repeatable", derandomize=True, database=None, deadline=None, suppress_health_check=slow)
    settings.load_profile("repeatable")

ROOT = Path(__file__).parents[1]
WARM = Path(__file__).parent / "warm"
SAMPLES = ROOT / "exporter" / "presets" / "digits" / "samples"


@pytest.fixture(scope="session")
def digits_output(tmp_path_factory):
    """An output directory with version 1 of the preset digits, exported with k = 2."""
    pytest.importorskip("tensorflow", reason="exporting needs TensorFlow")
    from exporter import export, load_classifier

    output = tmp_path_factory.mktemp("models")
    export(load_classifier("digits"), output, k=2)
    return output


@pytest.fixture(scope="session")
def digits_version(digits_output):
    """The directory of that version."""
    return digits_output / "digits" / "1"


@pytest.fixture(scope="session")
def digits_server(digits_output, free_port):
    """A stand-in that serves that version over gRPC and REST, for tests that only ask."""
    from server import ModelServer, Settings

    settings = Settings(model_name="digits", model_base_path=str(digits_output / "digits"), rest_api_port=free_port())
    with ModelServer(settings) as server:
        yield server


@pytest.fixture(scope="session")
def free_port():
    """A function that finds a free port.

    It is not one of those that the system gives to whoever asks for any: nothing takes it before it is used.
    """
    given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = random.SystemRandom()

    def find():
        while True:
            port = ports.randrange(5_000, max(given, 10_000))
            with suppress(OSError), socket.create_server(("", port)):
                return port

    return find


@pytest.fixture(scope="session")
def sample_images():
    """The 32 images that the preset digits ships."""
    return sorted(SAMPLES.glob("*.png"))


@pytest.fixture(scope="session")
def commands(tmp_path_factory):
    """A directory with our three commands and python, which need not load TensorFlow first: for tests that run many.

    Other tests run those that pip installed.
    """
    directory = tmp_path_factory.mktemp("commands")
    place = directory / "socket"
    with subprocess.Popen(
        [sys.executable, WARM / "processes.py", place],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        for name in ("export-model", "serve-model", "serving-client", "python"):
            words = shlex.join([sys.executable, "-ESs", str(WARM / "command.py"), str(place), name])
            (directory / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
            (directory / name).chmod(0o755)
        assert process.stdout.readline() == "ready\n"
        yield directory
        # It ends when its stdin is closed.
