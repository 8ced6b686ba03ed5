"""The server under KServe: one InferenceService a model, plain or with a canary."""

from collections.abc import Sequence
from dataclasses import replace

from exporter.deploy.files import Manifest, to_yaml
from exporter.deploy.gate import (
    NAMESPACE,
    Candidate,
    check_command,
    check_job,
    config_flag,
    config_map,
    config_mount,
    config_volume,
    header,
)
from exporter.deploy.kubernetes import CLAIM, environment_list, kubernetes_name, name_label
from exporter.deploy.start import ServerStart

# KServe mounts a model here, and expects a server to listen on these.
MODEL_PATH = "/mnt/models"
GRPC_PORT, REST_PORT = 9000, 8080

_MEMORY_BYTES = 8 * 2**30


def kserve_file(start: ServerStart, models: Sequence[str]) -> str:
    """Return one InferenceService a model. KServe serves the newest version of each, and knows no models.config."""
    return to_yaml(
        *(inference_service(model, {"predictor": {"model": model_server(start, model)}}) for model in models)
    )


def inference_service(model: str, spec: Manifest, **metadata: Manifest) -> Manifest:
    """Return the InferenceService of a model."""
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": kubernetes_name(model), **metadata},
        "spec": spec,
    }


def model_server(start: ServerStart, model: str, *more: str) -> Manifest:
    """Return how KServe runs a server of this model, with more flags if need be."""
    resources: Manifest = {"limits": {"cpu": "4", "memory": "8Gi"}}
    if start.memory_request and start.memory_bytes is not None:
        resources["requests"] = {"memory": start.memory_request}
        if start.memory_bytes > _MEMORY_BYTES:
            resources["limits"]["memory"] = start.memory_request
    if start.on_gpu:
        resources["limits"]["nvidia.com/gpu"] = 1
    server: Manifest = {
        "modelFormat": {"name": "tensorflow"},
        "protocolVersion": "grpc-v1",
        "runtime": "kserve-tensorflow-serving",
        # KServe's own is years old.
        "image": start.image,
        # The parent of the version directories.
        "storageUri": f"pvc://{CLAIM}/{model}",
        # They follow those of the runtime, which calls the model as the InferenceService, and the last one counts.
        "args": [
            f"--model_name={model}",
            f"--port={GRPC_PORT}",
            f"--rest_api_port={REST_PORT}",
            f"--model_base_path={MODEL_PATH}",
            *more,
            *start.xla_flags,
        ],
        "ports": [{"name": "h2c", "containerPort": GRPC_PORT, "protocol": "TCP"}],
        "resources": resources,
    }
    if start.environment:
        server["env"] = environment_list(start)
    return server


def knative_file(candidate: Candidate) -> str:
    """Return the InferenceService whose new revision gets no traffic, and the candidate's ConfigMap."""
    name, version = candidate.name, candidate.version
    said = header(
        f"KServe with Knative: {candidate.model}, version {version}, dark until the check says yes.",
        "",
        "  kubectl apply --filename kserve-knative.yaml",
        f"  kubectl wait --for=condition=Ready inferenceservice/{name} --timeout=30m",
        "  kubectl apply --filename kserve-knative-check.yaml",
        f"  kubectl wait --for=condition=Complete job/{candidate.config_name}-check --timeout=20m",
        f"  kubectl patch inferenceservice {name} --type=json \\",
        '    --patch=\'[{"op": "remove", "path": "/spec/predictor/canaryTrafficPercent"}]\'',
        "",
        "The last line gives it the traffic. To leave it, apply the file of the version before.",
    )
    service = inference_service(
        candidate.model,
        {"predictor": {"canaryTrafficPercent": 0, **_predictor(candidate)}},
        annotations={
            # A service that KServe runs without Knative ignores canaryTrafficPercent, and would roll out at once.
            "serving.kserve.io/deploymentMode": "Serverless",
            "serving.kserve.io/enable-tag-routing": "true",
        },
    )
    return said + to_yaml(config_map(candidate, MODEL_PATH), service)


def standard_file(candidate: Candidate, stable: int | None) -> str:
    """Return the InferenceService with the stable version and the candidate beside it, and their ConfigMaps."""
    name = candidate.name
    current = replace(candidate, version=candidate.version if stable is None else stable)
    said = header(
        f"KServe without Knative (Standard, 0.20 or newer): {candidate.model}, version {candidate.version}, dark.",
        "",
        "  kubectl apply --filename kserve-standard.yaml",
        f"  kubectl wait --for=condition=Ready inferenceservice/{name} --timeout=30m",
        "  kubectl apply --filename kserve-standard-check.yaml",
        f"  kubectl wait --for=condition=Complete job/{candidate.config_name}-check --timeout=20m",
        "",
        "Then move the candidate's predictor to spec.predictor, remove spec.canary and apply: its pods keep running.",
        "To leave it instead, remove spec.canary. The stable version is the one that models.config calls stable.",
    )
    spec: Manifest = {"predictor": {"name": f"v{current.version}", **_predictor(current)}}
    configs = [config_map(current, MODEL_PATH)]
    if current != candidate:
        predictor = {"name": f"v{candidate.version}", **_predictor(candidate)}
        spec["canary"] = [{"trafficPercent": 0, "predictor": predictor}]
        configs.append(config_map(candidate, MODEL_PATH))
    annotations = {"serving.kserve.io/deploymentMode": "Standard"}
    return said + to_yaml(*configs, inference_service(candidate.model, spec, annotations=annotations))


def knative_check_file(candidate: Candidate) -> str:
    """Return the Job that checks the candidate of `knative_file`."""
    address = f"latest-{candidate.name}-predictor.{NAMESPACE}.svc.cluster.local:80"
    return _check_file(candidate, address, f"Where the namespace is not {NAMESPACE}, change the address.")


def standard_check_file(candidate: Candidate) -> str:
    """Return the Job that checks the candidate of `standard_file`."""
    address = f"{candidate.name}-v{candidate.version}-predictor:{GRPC_PORT}"
    return _check_file(candidate, address, "Where KServe gives Services a cluster IP, the port is 80.")


def _check_file(candidate: Candidate, address: str, remark: str) -> str:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{candidate.config_name}-check", "labels": name_label(candidate.name)},
        "spec": check_job(candidate, check_command(candidate, address)),
    }
    return header(f"The check of {candidate.model}, version {candidate.version}.", remark) + to_yaml(job)


def _predictor(candidate: Candidate) -> Manifest:
    """Return a predictor with the candidate alone. A server that has a config ignores the model that flags name."""
    flags = (f"--model_config_file={config_flag()}", "--allow_version_labels_for_unavailable_models=true")
    server = model_server(candidate.start, candidate.model, *flags)
    return {"model": {**server, "volumeMounts": [config_mount()]}, "volumes": [config_volume(candidate)]}
