"""How to start a server: the flags, and the files for Docker, Kubernetes and KServe that carry them."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import yaml

from exporter.deploy.models_config import MODELS_CONFIG
from exporter.server_images import parse_image

Manifest: TypeAlias = dict[str, Any]

BATCHING_CONFIG = "batching.config"
MONITORING_CONFIG = "monitoring.config"

_GRPC_PORT, _REST_PORT = 8500, 8501
_NAME = "model-server"
# The claim of the volume that holds the output directory, as users are told to call it.
_CLAIM = "models"

# KServe mounts a model here, and expects a server to listen on these.
_KSERVE_MODEL = "/mnt/models"
_KSERVE_GRPC_PORT, _KSERVE_REST_PORT = 9000, 8080


@dataclass(frozen=True)
class ServerStart:
    """How a server is to be started.

    Attributes:
        image: the server's image.
        root: where the server sees the output directory.
        batching: whether the server merges requests, by batching.config.
        jit_compile: whether a model needs XLA.
    """

    image: str
    root: str
    batching: bool
    jit_compile: bool

    @property
    def flags(self) -> list[str]:
        """The flags of the server; without the one for labels it refuses a models.config that has some."""
        deploy = f"{self.root.rstrip('/')}/deploy"
        flags = [
            f"--port={_GRPC_PORT}",
            f"--rest_api_port={_REST_PORT}",
            f"--model_config_file={deploy}/{MODELS_CONFIG}",
            "--model_config_file_poll_wait_seconds=30",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_grpc_healthcheck_service=true",
            f"--monitoring_config_file={deploy}/{MONITORING_CONFIG}",
        ]
        if self.batching:
            flags += ["--enable_batching=true", f"--batching_parameters_file={deploy}/{BATCHING_CONFIG}"]
        return flags + self.xla_flags

    @property
    def xla_flags(self) -> list[str]:
        """Without these a model that must be compiled loads, and then fails every request."""
        device = "gpu" if self.on_gpu else "cpu"
        return [f"--xla_{device}_compilation_enabled=true"] if self.jit_compile else []

    @property
    def on_gpu(self) -> bool:
        """Whether to reserve a GPU."""
        return parse_image(self.image).gpu


def docker_run(start: ServerStart) -> str:
    """The command that starts the server in the output directory."""
    words = ["docker", "run", "--rm", *(["--gpus=1"] if start.on_gpu else [])]
    words += [f"--publish={port}:{port}" for port in (_GRPC_PORT, _REST_PORT)]
    # The shell that runs it knows the directory.
    mount = f'--mount=type=bind,source="$PWD",target={shlex.quote(start.root)},readonly'
    return " ".join([shlex.join(words), mount, shlex.join([start.image, *start.flags])])


def compose_file(start: ServerStart) -> str:
    """A compose.yaml that lies in `deploy/`, for `docker compose up`."""
    service: Manifest = {
        "image": start.image,
        "command": start.flags,
        "ports": [f"{port}:{port}" for port in (_GRPC_PORT, _REST_PORT)],
        "volumes": [{"type": "bind", "source": "..", "target": start.root, "read_only": True}],
        "restart": "unless-stopped",
    }
    if start.on_gpu:
        gpu = {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [gpu]}}}
    header = f"# The same without compose, in the directory above this one:\n# {docker_run(start)}\n"
    return header + _yaml({"services": {_NAME: service}})


def kubernetes_file(start: ServerStart) -> str:
    """A Deployment, and a headless Service: its name resolves to every replica, so that gRPC clients can balance."""
    labels = {"app.kubernetes.io/name": _NAME}
    ports = {"grpc": _GRPC_PORT, "rest": _REST_PORT}
    # The health service answers for the server as a whole, the empty service name, as soon as the port is open; and the
    # port opens when every model has a version loaded and warmed up.
    probe = {"grpc": {"port": _GRPC_PORT}, "timeoutSeconds": 5}
    container: Manifest = {
        "name": _NAME,
        "image": start.image,
        "args": start.flags,
        "ports": [{"name": name, "containerPort": port} for name, port in ports.items()],
        "startupProbe": {**probe, "periodSeconds": 5, "failureThreshold": 120},
        "readinessProbe": {**probe, "periodSeconds": 5},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "models", "mountPath": start.root, "readOnly": True}],
    }
    if start.on_gpu:
        container["resources"] = {"limits": {"nvidia.com/gpu": 1}}
    pod = {
        "containers": [container],
        "volumes": [{"name": "models", "persistentVolumeClaim": {"claimName": _CLAIM, "readOnly": True}}],
    }
    deployment: Manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _NAME, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service: Manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": _NAME, "labels": labels},
        "spec": {
            "clusterIP": "None",
            "selector": labels,
            "ports": [{"name": name, "port": port, "targetPort": name} for name, port in ports.items()],
        },
    }
    return _yaml(deployment, service)


def kserve_file(start: ServerStart, models: Sequence[str]) -> str:
    """One InferenceService a model. KServe serves the newest version of each, and knows no models.config."""
    return _yaml(*(_inference_service(start, model) for model in models))


def _inference_service(start: ServerStart, model: str) -> Manifest:
    limits: Manifest = {"cpu": "4", "memory": "8Gi"}
    if start.on_gpu:
        limits["nvidia.com/gpu"] = 1
    predictor: Manifest = {
        "modelFormat": {"name": "tensorflow"},
        "protocolVersion": "grpc-v1",
        "runtime": "kserve-tensorflow-serving",
        # KServe's own is years old.
        "image": start.image,
        # The parent of the version directories.
        "storageUri": f"pvc://{_CLAIM}/{model}",
        # They follow those of the runtime, which calls the model as the InferenceService, and the last one counts.
        "args": [
            f"--model_name={model}",
            f"--port={_KSERVE_GRPC_PORT}",
            f"--rest_api_port={_KSERVE_REST_PORT}",
            f"--model_base_path={_KSERVE_MODEL}",
            *start.xla_flags,
        ],
        "ports": [{"name": "h2c", "containerPort": _KSERVE_GRPC_PORT, "protocol": "TCP"}],
        "resources": {"limits": limits},
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": _kubernetes_name(model)},
        "spec": {"predictor": {"model": predictor}},
    }


def _kubernetes_name(model: str) -> str:
    """A name that KServe takes: a letter, then small letters, digits and hyphens."""
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return name if name[:1].isalpha() else f"model-{name}"


def _yaml(*documents: Manifest) -> str:
    text: str = yaml.dump_all(documents, Dumper=_PlainDumper, sort_keys=False, width=120)
    return text


class _PlainDumper(yaml.SafeDumper):
    """Writes a list or dict that is used twice twice, and not as an alias, which people find hard to read."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
