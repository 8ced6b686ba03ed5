"""The server under KServe: one InferenceService for each model, plain or with a canary."""

from collections.abc import Mapping

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

# Where KServe mounts a model, and the ports that it expects a server to listen on.
MODEL_PATH = "/mnt/models"
GRPC_PORT, REST_PORT = 9000, 8080

_MEMORY_BYTES = 8 * 2**30


def kserve_file(starts: Mapping[str, ServerStart]) -> str:
    """Return one InferenceService for each model. KServe serves its newest version and ignores models.config."""
    return to_yaml(
        *(
            inference_service(model, {"predictor": {"model": model_server(start, model)}})
            for model, start in starts.items()
        )
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
    """Return how KServe runs a server of this model, with additional flags."""
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
        # KServe's default image is years old.
        "image": start.image,
        # The parent of the version directories.
        "storageUri": f"pvc://{CLAIM}/{model}",
        # They follow the runtime's flags, which name the model after the InferenceService; the last flag wins.
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


def config_file(candidate: Candidate) -> str:
    """Return the ConfigMap that the candidate's servers mount, with and without Knative."""
    said = header(f"KServe: the config of {candidate.model}, version {candidate.version}. Apply it first.")
    return said + to_yaml(config_map(candidate, MODEL_PATH))


def knative_file(candidate: Candidate) -> str:
    """Return the InferenceService whose new revision gets no traffic."""
    name = candidate.name
    said = header(
        f"KServe with Knative: {candidate.model}, version {candidate.version}, dark until the check says yes.",
        "",
        "  kubectl apply --filename kserve-config.yaml --filename kserve-knative.yaml",
        f"  kubectl wait --for=jsonpath='{{.status.modelStatus.transitionStatus}}'=UpToDate inferenceservice/{name} \\",
        "    --timeout=30m",
        "  kubectl apply --filename kserve-knative-check.yaml",
        f"  kubectl wait --for=condition=Complete job/{candidate.config_name}-check --timeout=20m",
        f"  kubectl patch inferenceservice {name} --type=json \\",
        '    --patch=\'[{"op": "remove", "path": "/spec/predictor/canaryTrafficPercent"}]\'',
        "",
        "The last line gives it the traffic. The very first version gets it at once.",
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
    return said + to_yaml(service)


def standard_file(candidate: Candidate) -> str:
    """Return the InferenceService for a candidate that was promoted or is the first version."""
    name = candidate.name
    said = header(
        f"KServe without Knative (Standard, 0.20 or newer): {candidate.model}, version {candidate.version}.",
        "The first version:",
        "",
        "  kubectl apply --filename kserve-config.yaml --filename kserve-standard.yaml",
        "",
        "A later one stands beside the version that callers get, dark, until the check says yes:",
        "",
        "  kubectl apply --filename kserve-config.yaml",
        f"  kubectl patch inferenceservice {name} --type=merge --patch-file=kserve-standard-canary.yaml",
        f"  kubectl wait --for=condition=Ready inferenceservice/{name} --timeout=30m",
        "  kubectl apply --filename kserve-standard-check.yaml",
        f"  kubectl wait --for=condition=Complete job/{candidate.config_name}-check --timeout=20m",
        "  kubectl replace --filename kserve-standard.yaml",
        "",
        "The last line promotes it and ends the canary in one step; its pods keep running. To leave it instead:",
        "",
        f'  kubectl patch inferenceservice {name} --type=merge --patch=\'{{"spec": {{"canary": null}}}}\'',
    )
    annotations = {"serving.kserve.io/deploymentMode": "Standard"}
    service = inference_service(candidate.model, {"predictor": _named(candidate)}, annotations=annotations)
    return said + to_yaml(service)


def standard_canary_file(candidate: Candidate) -> str:
    """Return the patch that adds the candidate beside the current version, without traffic."""
    said = header(
        f"A patch, for kubectl patch alone: see kserve-standard.yaml. {candidate.model}, {candidate.version}."
    )
    return said + to_yaml({"spec": {"canary": [{"trafficPercent": 0, "predictor": _named(candidate)}]}})


def knative_check_file(candidate: Candidate) -> str:
    """Return the Job that checks the candidate of `knative_file`."""
    address = f"latest-{candidate.name}-predictor.{NAMESPACE}.svc.cluster.local:80"
    return _check_file(candidate, address, f"Where the namespace is not {NAMESPACE}, change the address.")


def standard_check_file(candidate: Candidate) -> str:
    """Return the Job that checks the candidate of `standard_canary_file`."""
    address = f"{candidate.name}-v{candidate.version}-predictor:{GRPC_PORT}"
    return _check_file(candidate, address, "Where KServe gives Services a cluster IP, the port is 80.")


def _check_file(candidate: Candidate, address: str, remark: str) -> str:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{candidate.config_name}-check", "labels": name_label(candidate.name)},
        # The address may lead to the previous version until the new one is ready, so a missing version is retried.
        "spec": check_job(candidate, check_command(candidate, address), final=(1,)),
    }
    return header(f"The check of {candidate.model}, version {candidate.version}.", remark) + to_yaml(job)


def _named(candidate: Candidate) -> Manifest:
    """Return a predictor with a name, which KServe needs to tell it from another of the same service."""
    return {"name": f"v{candidate.version}", **_predictor(candidate)}


def _predictor(candidate: Candidate) -> Manifest:
    """Return a predictor with only the candidate. A server with a config ignores the model that its flags name."""
    flags = (f"--model_config_file={config_flag()}", "--allow_version_labels_for_unavailable_models=true")
    server = model_server(candidate.start, candidate.model, *flags)
    return {"model": {**server, "volumeMounts": [config_mount()]}, "volumes": [config_volume(candidate)]}
