"""Servers to measure: the stand-in, or the program that MODEL_SERVER names, each a process of its own."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from client import ServingClient

_READY_SECONDS = 120
# Unlike the default of 4 a core, enough for all callers of a small machine.
_THREADS = "--grpc_max_threads=96"


@dataclass(frozen=True)
class RunningServer:
    """A server that is up: where it listens, and its process."""

    address: str
    pid: int

    def resident_megabytes(self) -> float:
        """Return the memory that the server holds."""
        status = Path(f"/proc/{self.pid}/status").read_text("utf-8")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found
        return int(found[1]) / 1024


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as listener:
        listener.bind(("localhost", 0))
        return int(listener.getsockname()[1])


def models_config(base_paths: Sequence[Path], *, all_versions: bool = False) -> str:
    """Return a models.config that serves each base path under its folder's name."""
    policy = "\n    model_version_policy { all {} }" if all_versions else ""
    configs = (
        f'  config {{\n    name: "{path.name}"\n    base_path: "{path.resolve()}"\n'
        f'    model_platform: "tensorflow"{policy}\n  }}\n'
        for path in base_paths
    )
    return "model_config_list {\n" + "".join(configs) + "}\n"


@contextmanager
def serving(base_paths: Sequence[Path], *flags: str, all_versions: bool = False) -> Iterator[RunningServer]:
    """Serve base paths until the block ends; it begins when all models are ready."""
    config, port = base_paths[0].parent / f"models-{free_port()}.config", free_port()
    config.write_text(models_config(base_paths, all_versions=all_versions))
    program = os.environ.get("MODEL_SERVER", "")
    command = [program] if program else [sys.executable, "-c", "from server.cli import main; main()"]
    flags = (f"--port={port}", f"--model_config_file={config.resolve()}", _THREADS, *flags)
    process = subprocess.Popen(
        [*command, *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    try:
        address = f"localhost:{port}"
        for path in base_paths:
            with ServingClient(address, path.name) as client:
                client.wait_until_ready(timeout=_READY_SECONDS)
        yield RunningServer(address, process.pid)
    finally:
        process.terminate()
        process.wait(30)
