"""A blue-green rollout by Argo Rollouts, with a check before any caller reaches the candidate."""

from exporter.deploy.files import Manifest, to_yaml
from exporter.deploy.gate import Candidate, candidate_pod, check_job, check_script, config_map, header
from exporter.deploy.kubernetes import name_label, progress_deadline, service
from exporter.deploy.start import GRPC_PORT

# Callers keep their connections to the old servers until these stop; new addresses take a while to spread.
_SCALE_DOWN_SECONDS = 120


def argo_file(candidate: Candidate) -> str:
    """Return a Rollout, the AnalysisTemplate that gates it, its two Services and the candidate's ConfigMap."""
    name, model = candidate.name, candidate.model
    said = header(
        f"Argo Rollouts (1.6 or newer): {model}, version {candidate.version}, blue-green.",
        "",
        "  kubectl apply --filename argo-rollouts.yaml",
        "",
        f"The candidate's servers are {name}-preview until the check says yes; then {name} names them. The very first",
        "apply has nothing to compare with and is not checked. Roll back with `kubectl argo rollouts undo`, which is",
        "checked too. Keep the ConfigMaps of earlier versions (no pruning): going back mounts one of them.",
    )
    return said + to_yaml(
        config_map(candidate, candidate.base_path),
        service(name, name_label(name)),
        service(f"{name}-preview", name_label(name)),
        _analysis(candidate),
        _rollout(candidate),
    )


def _analysis(candidate: Candidate) -> Manifest:
    command = ["sh", "-c", check_script(candidate, f"{candidate.name}-preview:{GRPC_PORT}")]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "AnalysisTemplate",
        "metadata": {"name": f"{candidate.name}-check"},
        "spec": {
            "metrics": [
                {
                    "name": "check",
                    "count": 1,
                    # The number of failures that are tolerated: 1 would promote a candidate that fails the only check.
                    "failureLimit": 0,
                    "provider": {"job": {"spec": check_job(candidate, command)}},
                }
            ]
        },
    }


def _rollout(candidate: Candidate) -> Manifest:
    name = candidate.name
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Rollout",
        "metadata": {"name": name, "labels": name_label(name)},
        "spec": {
            "progressDeadlineSeconds": progress_deadline(candidate.start),
            "selector": {"matchLabels": name_label(name)},
            "strategy": {
                "blueGreen": {
                    "activeService": name,
                    "previewService": f"{name}-preview",
                    "previewReplicaCount": 1,
                    "autoPromotionEnabled": True,
                    "scaleDownDelaySeconds": _SCALE_DOWN_SECONDS,
                    "prePromotionAnalysis": {"templates": [{"templateName": f"{name}-check"}]},
                }
            },
            "template": {"metadata": {"labels": candidate.template_labels}, "spec": candidate_pod(candidate)},
        },
    }
