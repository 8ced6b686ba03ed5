"""A blue-green rollout by Flagger, with the check as a webhook before any caller reaches the candidate."""

from exporter.deploy.files import Manifest, to_yaml
from exporter.deploy.gate import (
    LOADTESTER_TARGET,
    NAMESPACE,
    Candidate,
    candidate_pod,
    check_script,
    client_image,
    config_map,
    header,
)
from exporter.deploy.kubernetes import deployment, models_mount, models_volume, name_label, progress_deadline
from exporter.deploy.start import GRPC_PORT

_WEBHOOK_PORT = 8080


def flagger_file(candidate: Candidate) -> str:
    """Return a Canary, the Deployment that it watches, its webhook's server and the candidate's ConfigMap."""
    name = candidate.name
    said = header(
        f"Flagger, without a service mesh: {candidate.model}, version {candidate.version}, blue-green.",
        f"The webhook's server is {client_image(LOADTESTER_TARGET)}, the target {LOADTESTER_TARGET} there.",
        "",
        "  kubectl apply --filename flagger.yaml",
        "",
        f"Flagger makes the Services {name}, {name}-primary and {name}-canary. A check that fails or reaches nothing",
        "pauses the rollout, and the third one ends it: Flagger does not tell the two apart, its log does. The first",
        f"apply is not checked. Where the namespace is not {NAMESPACE}, change it in the webhook.",
    )
    return said + to_yaml(
        config_map(candidate, candidate.base_path),
        deployment(
            name, candidate_pod(candidate), candidate.template_labels, deadline=progress_deadline(candidate.start)
        ),
        *_webhook_server(candidate),
        _canary(candidate),
    )


def _webhook_server(candidate: Candidate) -> tuple[Manifest, Manifest]:
    name = f"{candidate.name}-gate"
    container = {
        "name": "gate",
        "image": client_image(LOADTESTER_TARGET),
        "args": [f"-port={_WEBHOOK_PORT}", "-log-level=info", "-timeout=20m"],
        "ports": [{"name": "http", "containerPort": _WEBHOOK_PORT}],
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [models_mount(candidate.start)],
    }
    pod = {"securityContext": {"runAsNonRoot": True}, "containers": [container], "volumes": [models_volume()]}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": name_label(name)},
        "spec": {"selector": name_label(name), "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return deployment(name, pod), service


def _canary(candidate: Candidate) -> Manifest:
    name = candidate.name
    webhook = {
        "name": "check",
        "type": "pre-rollout",
        "url": f"http://{name}-gate.{NAMESPACE}/",
        "timeout": "15m",
        # Other types answer before the command has run, and so gate nothing.
        "metadata": {"type": "bash", "cmd": check_script(candidate, f"{name}-canary.{NAMESPACE}:{GRPC_PORT}")},
    }
    return {
        "apiVersion": "flagger.app/v1beta1",
        "kind": "Canary",
        "metadata": {"name": name},
        "spec": {
            "provider": "kubernetes",
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "progressDeadlineSeconds": progress_deadline(candidate.start),
            "service": {"port": GRPC_PORT, "portName": "grpc", "targetPort": "grpc", "portDiscovery": True},
            "analysis": {"interval": "30s", "threshold": 3, "iterations": 1, "webhooks": [webhook]},
        },
    }
