"""The server under KServe, which serves the newest version of a model and ignores models.config."""

from collections.abc import Mapping

from exporter.deploy.files import Manifest, to_yaml
from exporter.deploy.kubernetes import environment_list, kubernetes_name
from exporter.deploy.start import ServerStart
from exporter.deploy.templates import fill_documents

# Where KServe mounts a model, and the ports that it expects a server to listen on.
MODEL_PATH = "/mnt/models"
GRPC_PORT, REST_PORT = 9000, 8080

_MEMORY_BYTES = 8 * 2**30


def kserve_file(starts: Mapping[str, ServerStart]) -> str:
    """Return one InferenceService for each model."""
    services: list[Manifest] = []
    for model, start in starts.items():
        values = {"name": kubernetes_name(model), "server": model_server(start, model)}
        services += fill_documents("kserve.yaml", values)
    return to_yaml(*services)


def model_server(start: ServerStart, model: str, *more: str, mounts: list[Manifest] | None = None) -> Manifest:
    """Return the KServe spec of a server of this model, with additional flags and mounts."""
    resources: Manifest = {"limits": {"cpu": "4", "memory": "8Gi"}}
    if start.memory_request and start.memory_bytes is not None:
        resources["requests"] = {"memory": start.memory_request}
        if start.memory_bytes > _MEMORY_BYTES:
            resources["limits"]["memory"] = start.memory_request
    if start.on_gpu:
        resources["limits"]["nvidia.com/gpu"] = 1
    # These follow the runtime's flags, which name the model after the InferenceService; the last flag wins.
    args = [
        f"--model_name={model}",
        f"--port={GRPC_PORT}",
        f"--rest_api_port={REST_PORT}",
        f"--model_base_path={MODEL_PATH}",
        *more,
        *start.xla_flags,
    ]
    values = {
        "image": start.image,
        "model": model,
        "args": args,
        "resources": resources,
        "env": environment_list(start),
        "mounts": mounts,
    }
    (server,) = fill_documents("kserve-server.yaml", values)
    return server
