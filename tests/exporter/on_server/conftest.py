"""Staged versions, and the servers to validate them on: the stand-in, or the one that MODEL_SERVER names."""

import json
import os
import shutil
import sys
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest

from exporter.deploy.start import ServerStart
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.target import Target
from signatures.contract import names

HERE = Path(__file__).parent


@pytest.fixture
def binary(commands):
    """A server that is a program of this machine."""
    return Target("binary", "", os.environ.get("MODEL_SERVER") or str(commands / "serve-model"))


@pytest.fixture
def engines(commands, tmp_path, monkeypatch):
    """Fake docker, podman and kubectl on the PATH; what they were asked, and what they run."""
    programs, state = tmp_path / "bin", tmp_path / "state"
    programs.mkdir()
    state.mkdir()
    for name in ("docker", "podman", "kubectl"):
        fake = [HERE / "fake_kubectl.py"] if name == "kubectl" else [HERE / "fake_containers.py", name]
        words = " ".join(f"'{word}'" for word in (sys.executable, *fake))
        (programs / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_STATE", str(state))

    def calls(engine, *beginning):
        file = state / "calls.jsonl"
        every = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [call[1:] for call in every if call[: 1 + len(beginning)] == [engine, *beginning]]

    def running():
        return [place.name for kind in ("containers", "pods") for place in (state / kind).glob("*")]

    return SimpleNamespace(state=state, programs=programs, calls=calls, running=running)


@pytest.fixture
def staged(digits_version, tmp_path):
    """A copy of a digits version, under a name as staged ones have: the scripts that reproduce a failure share /tmp."""
    copy = tmp_path / "models" / "digits" / f".staging-{uuid.uuid4().hex}"
    shutil.copytree(digits_version, copy)
    return copy


@pytest.fixture
def servable():
    """A function that describes a staged version."""

    def describe(directory, model="digits", *, jit_compile=False, patience=600, batching=None):
        golden = directory / names.ASSETS_EXTRA / names.GOLDEN_FILE
        start = ServerStart(
            image="tensorflow/serving:2.20.0",
            root="/models",
            batching=batching is not None,
            jit_compile=jit_compile,
            startup_seconds=patience,
        )
        return Servable(directory=directory, model=model, version=3, golden=golden, start=start, batching=batching)

    return describe


@pytest.fixture
def work(tmp_path):
    """An empty directory."""
    directory = tmp_path / "work"
    directory.mkdir()
    return directory
