"""The server on Kubernetes: a Deployment, its Service, its scaling, and the parts that rollouts share."""

import re
from collections.abc import Mapping, Sequence
from math import ceil

from exporter.deploy.files import Manifest, to_yaml
from exporter.deploy.start import GRPC_PORT, NAME, REST_PORT, ServerStart

# The claim of the volume that holds the output directory; the docs tell users to use this name.
CLAIM = "models"

_PROBE_SECONDS = 5
# Added to a server's startup time, so that a Deployment is not reported as stuck while a server still starts.
_SPARE_SECONDS = 300

_AUTOSCALING_HEADER = """\
# kubernetes.yaml runs one replica. With this, Kubernetes chooses from two to eight by CPU, which needs no more than its
# metrics server. Where a GPU does the work, scale by a metric of the model server instead, through an adapter for
# Prometheus: alerts.yaml shows them. The numbers are starting values. This was never applied to a cluster.
"""


def kubernetes_file(start: ServerStart) -> str:
    """Return a Deployment and a headless Service, whose name resolves to all replicas, so that gRPC can use them."""
    pod = server_pod(start, start.flags)
    return to_yaml(deployment(NAME, pod, deadline=progress_deadline(start)), service(NAME, name_label(NAME)))


def deployment(
    name: str, pod: Manifest, pod_labels: Mapping[str, str] | None = None, deadline: int | None = None
) -> Manifest:
    """Return a Deployment of a pod, which `name_label` finds.

    It leaves out the number of replicas, so that applying it again keeps what an autoscaler chose; the default is one.
    """
    labels = name_label(name)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            **({} if deadline is None else {"progressDeadlineSeconds": deadline}),
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": dict(pod_labels or labels)}, "spec": pod},
        },
    }


def autoscaling_file() -> str:
    """Return a HorizontalPodAutoscaler and a PodDisruptionBudget for the Deployment of `kubernetes_file`."""
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": NAME, "labels": name_label(NAME)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": NAME},
            "minReplicas": 2,
            "maxReplicas": 8,
            # A share of the requested CPU would need a request; a number of cores does not.
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "3"}},
                }
            ],
            # A new replica loads and warms up every model, so a short peak should neither start nor stop one.
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 60},
                "scaleDown": {"stabilizationWindowSeconds": 900},
            },
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": NAME, "labels": name_label(NAME)},
        # With minAvailable instead, a node with the only replica could never be drained.
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": name_label(NAME)}},
    }
    return _AUTOSCALING_HEADER + to_yaml(autoscaler, budget)


def server_pod(start: ServerStart, flags: Sequence[str]) -> Manifest:
    """Return the spec of a pod with one server and the output directory, read-only."""
    # For the empty service name, the health service answers as soon as the port is open, which it is once every model
    # has a version loaded and warmed up.
    probe = {"grpc": {"port": GRPC_PORT}, "timeoutSeconds": 5}
    patience = {"periodSeconds": _PROBE_SECONDS, "failureThreshold": ceil(start.startup_seconds / _PROBE_SECONDS)}
    container: Manifest = {
        "name": NAME,
        "image": start.image,
        "args": list(flags),
        "ports": [{"name": name, "containerPort": port} for name, port in (("grpc", GRPC_PORT), ("rest", REST_PORT))],
        "startupProbe": {**probe, **patience},
        "readinessProbe": {**probe, "periodSeconds": _PROBE_SECONDS},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [models_mount(start)],
    }
    if start.environment:
        container["env"] = environment_list(start)
    if resources := _resources(start):
        container["resources"] = resources
    return {"containers": [container], "volumes": [models_volume()]}


def service(name: str, selector: Mapping[str, str]) -> Manifest:
    """Return a headless Service for the servers with these labels."""
    ports = {"grpc": GRPC_PORT, "rest": REST_PORT}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": dict(selector)},
        "spec": {
            "clusterIP": "None",
            "selector": dict(selector),
            "ports": [{"name": name, "port": port, "targetPort": name} for name, port in ports.items()],
        },
    }


def models_mount(start: ServerStart) -> Manifest:
    """Return the mount of the output directory in a container."""
    return {"name": "models", "mountPath": start.root, "readOnly": True}


def models_volume() -> Manifest:
    """Return the volume that holds the output directory."""
    return {"name": "models", "persistentVolumeClaim": {"claimName": CLAIM, "readOnly": True}}


def environment_list(start: ServerStart) -> list[Manifest]:
    """Return the server's environment in the form of a container spec."""
    return [{"name": name, "value": value} for name, value in start.environment.items()]


def progress_deadline(start: ServerStart) -> int:
    """Return how many seconds a controller waits for a server before it reports it as stuck."""
    return start.startup_seconds + _SPARE_SECONDS


def name_label(name: str) -> dict[str, str]:
    """Return the label that selects pods and what belongs to them."""
    return {"app.kubernetes.io/name": name}


def kubernetes_name(model: str) -> str:
    """Return a name that Kubernetes and KServe accept: a letter, then lowercase letters, digits and hyphens.

    Example:
        >>> kubernetes_name("2nd_Model.b")
        'model-2nd-model-b'
    """
    name = re.sub(r"[^a-z0-9]+", "-", model.lower()).strip("-")
    return name if name[:1].isalpha() else f"model-{name}".rstrip("-")


def _resources(start: ServerStart) -> Manifest:
    resources: Manifest = {}
    if start.memory_request:
        resources["requests"] = {"memory": start.memory_request}
    if start.on_gpu:
        resources["limits"] = {"nvidia.com/gpu": 1}
    return resources
