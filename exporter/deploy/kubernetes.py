"""The server on Kubernetes: a Deployment, its Service and its scaling, and the pod that rollouts share."""

import re
from collections.abc import Sequence
from math import ceil

from exporter.deploy.files import Manifest
from exporter.deploy.start import ServerStart
from exporter.deploy.templates import fill, fill_documents

_PROBE_SECONDS = 5
# Added to a server's startup time, so that a Deployment is not reported as stuck while a server still starts.
_SPARE_SECONDS = 300


def kubernetes_file(start: ServerStart) -> str:
    """Return a Deployment of servers of all models, and their Service."""
    return fill("kubernetes.yaml", {"pod": server_pod(start, start.flags), "deadline": progress_deadline(start)})


def autoscaling_file() -> str:
    """Return a HorizontalPodAutoscaler and a PodDisruptionBudget for the Deployment of `kubernetes_file`."""
    return fill("autoscaling.yaml", {})


def server_pod(start: ServerStart, flags: Sequence[str]) -> Manifest:
    """Return the spec of a pod with one server and the output directory, read-only."""
    resources: Manifest = {}
    if start.memory_request:
        resources["requests"] = {"memory": start.memory_request}
    if start.on_gpu:
        resources["limits"] = {"nvidia.com/gpu": 1}
    (pod,) = fill_documents(
        "server-pod.yaml",
        {
            "image": start.image,
            "args": list(flags),
            "startup_failures": ceil(start.startup_seconds / _PROBE_SECONDS),
            "root": start.root,
            "env": environment_list(start),
            "resources": resources or None,
        },
    )
    return pod


def environment_list(start: ServerStart) -> list[Manifest] | None:
    """Return the server's environment in the form of a container spec; None without variables."""
    return [{"name": name, "value": value} for name, value in start.environment.items()] or None


def progress_deadline(start: ServerStart) -> int:
    """Return how many seconds a controller waits for a server before it reports it as stuck."""
    return start.startup_seconds + _SPARE_SECONDS


def kubernetes_name(model: str) -> str:
    """Return a name that Kubernetes and KServe accept: a letter, then lowercase letters, digits and hyphens.

    Example:
        >>> kubernetes_name("2nd_Model.b")
        'model-2nd-model-b'
    """
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return name if name[:1].isalpha() else f"model-{name}".rstrip("-")
