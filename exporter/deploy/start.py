"""How to start a server: its flags, and the commands and files for Docker, compose and the stand-in."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from exporter.deploy.models_config import MODELS_CONFIG
from exporter.deploy.templates import fill
from exporter.server_images import parse_image
from signatures.contract.record import ExportRecord

BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"

NAME = "model-server"
GRPC_PORT, REST_PORT = 8500, 8501

# The shortest time that a server is given to start.
_PATIENCE_SECONDS = 600
# Warm-up was measured on an idle machine with the files cached; the server may have neither.
_SAFETY_FACTOR = 10
# For the server itself, without any model. It was not measured.
_SERVER_BYTES = 512 * 2**20


@dataclass(frozen=True, kw_only=True)
class ServerStart:
    """How to start a server.

    Attributes:
        image: the server's image.
        root: where the server sees the output directory.
        batching: whether the server merges requests, as batching.config says.
        jit_compile: whether a model needs XLA.
        startup_seconds: how long it may take to load and warm up before Kubernetes restarts it.
        memory_bytes: the memory that it needs on its host; None if unknown.
        grpc_port: where it listens for gRPC.
        rest_port: where it listens for REST.
    """

    image: str
    root: str
    batching: bool = False
    jit_compile: bool = False
    startup_seconds: int = _PATIENCE_SECONDS
    memory_bytes: int | None = None
    grpc_port: int = GRPC_PORT
    rest_port: int = REST_PORT

    @property
    def flags(self) -> list[str]:
        """The flags of a server that follows models.config while it runs."""
        return self.flags_for(f"{self.directory}/{MODELS_CONFIG}", "--model_config_file_poll_wait_seconds=30")

    def flags_for(self, config: str, *more: str) -> list[str]:
        """Return the flags of a server with this config, including the one without which it refuses labels."""
        flags = [
            f"--port={self.grpc_port}",
            f"--rest_api_port={self.rest_port}",
            f"--model_config_file={config}",
            *more,
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_grpc_healthcheck_service=true",
            f"--monitoring_config_file={self.directory}/{MONITORING_CONFIG}",
        ]
        if self.batching:
            flags += ["--enable_batching=true", f"--batching_parameters_file={self.directory}/{BATCHING_CONFIG}"]
        return flags + self.xla_flags

    @property
    def directory(self) -> str:
        """Where the server sees `deploy/`."""
        return f"{self.root.rstrip('/')}/deploy"

    @property
    def xla_flags(self) -> list[str]:
        """The flags without which a model that needs XLA loads but fails every request."""
        device = "gpu" if self.on_gpu else "cpu"
        return [f"--xla_{device}_compilation_enabled=true"] if self.jit_compile else []

    @property
    def on_gpu(self) -> bool:
        """Whether to reserve a GPU."""
        return parse_image(self.image).gpu

    @property
    def environment(self) -> dict[str, str]:
        """The variables without which a server takes nearly all of a GPU's memory when it starts."""
        return {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if self.on_gpu else {}

    @property
    def memory_request(self) -> str | None:
        """The memory that it needs, in Kubernetes' notation."""
        return None if self.memory_bytes is None else f"{ceil(self.memory_bytes / 2**20)}Mi"


def with_needs(start: ServerStart, records: Iterable[ExportRecord | None]) -> ServerStart:
    """Return the start with the startup time and the memory needed to load these versions, one after another.

    What a record lacks counts as zero. If all lack the memory, none is requested.
    """
    known = [record for record in records if record is not None]
    memory = sum(int(_number((record.memory or {}).get("total"))) for record in known)
    warmup = sum(_number(record.warmup_seconds) for record in known)
    return replace(
        start,
        startup_seconds=max(_PATIENCE_SECONDS, ceil(_SAFETY_FACTOR * warmup)),
        memory_bytes=memory + _SERVER_BYTES if memory else None,
    )


def container_options(start: ServerStart, engine: str = "docker") -> list[str]:
    """Return the options that give a container of Docker or Podman its GPU and its environment.

    Podman names GPUs as the Container Device Interface does, and would read `--gpus=1` as the second one.
    """
    gpu = "--gpus=1" if engine == "docker" else "--device=nvidia.com/gpu=all"
    return [*([gpu] if start.on_gpu else []), *(f"--env={name}={value}" for name, value in start.environment.items())]


def docker_run(start: ServerStart) -> str:
    """Return the command that starts the server, to be run in the output directory."""
    words = ["docker", "run", "--rm", *container_options(start)]
    words += [f"--publish={port}:{port}" for port in (GRPC_PORT, REST_PORT)]
    # $PWD is left to the shell that runs the command.
    mount = f'--mount=type=bind,source="$PWD",target={shlex.quote(start.root)},readonly'
    return " ".join([shlex.join(words), mount, shlex.join([start.image, *start.flags])])


def serve_model(start: ServerStart, config: Path) -> str:
    """Return the command that starts the stand-in on this machine with a models.config of this machine's paths."""
    directory = config.parent.parent
    words = [
        "serve-model",
        f"--port={GRPC_PORT}",
        f"--rest_api_port={REST_PORT}",
        f"--model_config_file={config}",
        "--model_config_file_poll_wait_seconds=5",
        "--allow_version_labels_for_unavailable_models",
        f"--monitoring_config_file={directory / MONITORING_CONFIG}",
    ]
    if start.batching:
        words += ["--enable_batching", f"--batching_parameters_file={directory / BATCHING_CONFIG}"]
    if start.jit_compile:
        words.append("--xla_cpu_compilation_enabled")
    return shlex.join(words)


def compose_file(start: ServerStart) -> str:
    """Return a compose.yaml for `docker compose up` in `deploy/`."""
    gpu = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    values = {
        "docker_run": docker_run(start),
        "image": start.image,
        "flags": start.flags,
        "root": start.root,
        "environment": start.environment or None,
        "deploy": {"resources": {"reservations": {"devices": [gpu]}}} if start.on_gpu else None,
    }
    return fill("compose.yaml", values)


def _number(value: object) -> float:
    """Return a number from a record, which a user may have edited, or 0."""
    return float(value) if isinstance(value, int | float) else 0.0
