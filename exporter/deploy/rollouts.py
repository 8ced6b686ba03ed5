"""The files for a rollout by Argo Rollouts, Flagger or KServe, each gated by our check."""

from collections.abc import Sequence

from exporter.deploy.files import Manifest
from exporter.deploy.gate import NAMESPACE, Candidate, check_command, check_script, client_image
from exporter.deploy.kserve import GRPC_PORT as KSERVE_PORT
from exporter.deploy.kserve import MODEL_PATH, model_server
from exporter.deploy.kubernetes import progress_deadline, server_pod
from exporter.deploy.models_config import MODELS_CONFIG, only_version
from exporter.deploy.start import GRPC_PORT
from exporter.deploy.templates import fill, fill_documents

_CONFIG_MOUNT = {"name": "config", "mountPath": "/etc/model-server", "readOnly": True}
_CONFIG_FILE = f"{_CONFIG_MOUNT['mountPath']}/{MODELS_CONFIG}"
_KSERVE_FILES = ("kserve-config.yaml", "kserve-knative.yaml", "kserve-standard.yaml", "kserve-standard-canary.yaml")

_NOT_TRIED = f"""\
Not tried: this was never applied to a cluster, and no controller has read it. It is valid against the
# schemas of its kinds, and the check's own command was run against stand-in servers, right and wrong ones.
# {client_image()} is built by ../Dockerfile: push it where the cluster finds it."""


def rollout_files(candidate: Candidate) -> dict[str, str]:
    """Return the rollout files of a version, by name."""
    name, version = candidate.name, candidate.version
    values = _values(candidate)
    argo_command = ["sh", "-c", check_script(candidate, f"{name}-preview:{GRPC_PORT}")]
    flagger_script = check_script(candidate, f"{name}-canary.{NAMESPACE}:{GRPC_PORT}")
    # A server with a config ignores the model that its flags name.
    flags = (f"--model_config_file={_CONFIG_FILE}", "--allow_version_labels_for_unavailable_models=true")
    kserve = {
        **values,
        "config": only_version(candidate.model, version, MODEL_PATH),
        "server": model_server(candidate.start, candidate.model, *flags, mounts=[_CONFIG_MOUNT]),
    }
    knative = f"latest-{name}-predictor.{NAMESPACE}.svc.cluster.local:80"
    standard = f"{name}-v{version}-predictor:{KSERVE_PORT}"
    return {
        "argo-rollouts.yaml": fill("argo-rollouts.yaml", {**values, "job": _check_job(values, argo_command)}),
        "flagger.yaml": fill("flagger.yaml", {**values, "script": flagger_script}),
        **{file: fill(file, kserve) for file in _KSERVE_FILES},
        "kserve-knative-check.yaml": _kserve_check(
            candidate, values, knative, f"Where the namespace is not {NAMESPACE}, change the address."
        ),
        "kserve-standard-check.yaml": _kserve_check(
            candidate, values, standard, "Where KServe gives Services a cluster IP, the port is 80."
        ),
    }


def _values(candidate: Candidate) -> Manifest:
    """Return the values of the placeholders in all templates."""
    return {
        "name": candidate.name,
        "model": candidate.model,
        "version": str(candidate.version),
        "namespace": NAMESPACE,
        "root": candidate.start.root,
        "client_image": client_image(),
        "loadtester_image": client_image("flagger"),
        "not_tried": _NOT_TRIED,
        "deadline": progress_deadline(candidate.start),
        "pod": _pod(candidate),
        "config": only_version(candidate.model, candidate.version, candidate.base_path),
    }


def _pod(candidate: Candidate) -> Manifest:
    """Return the pod of a server that serves only the candidate, and never reads another config."""
    pod = server_pod(candidate.start, candidate.start.flags_for(_CONFIG_FILE))
    pod["containers"][0]["volumeMounts"].append(_CONFIG_MOUNT)
    pod["volumes"].append({"name": "config", "configMap": {"name": f"{candidate.name}-v{candidate.version}"}})
    return pod


def _kserve_check(candidate: Candidate, values: Manifest, address: str, remark: str) -> str:
    # The address may lead to the previous version until the new one is ready, so a missing version is retried.
    job = _check_job(values, check_command(candidate, address), final=(1,))
    return fill("kserve-check.yaml", {**values, "job": job, "remark": remark})


def _check_job(values: Manifest, command: Sequence[str], final: Sequence[int] = (1, 2)) -> Manifest:
    """Return the spec of a Job that runs the check.

    Args:
        values: the values of the rollout's templates.
        command: the command of the check.
        final: the exit statuses that a retry cannot change.
    """
    retried = [status for status in (1, 2, 3, 4) if status not in final]
    (job,) = fill_documents(
        "check-job.yaml", {**values, "command": list(command), "final": list(final), "retried": retried}
    )
    return job
