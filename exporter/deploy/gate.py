"""The gate of every rollout: the check of a candidate against its golden records, and what runs the check.

A rollout controller acts when a pod template changes, which it never does for servers that follow `models.config` on a
volume. So here the template holds the version: a pod mounts a ConfigMap with the version in its name, and the config
in it names only that version.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata

from exporter.deploy.files import Manifest
from exporter.deploy.kubernetes import kubernetes_name, models_mount, models_volume, name_label, server_pod
from exporter.deploy.models_config import MODELS_CONFIG, only_version
from exporter.deploy.start import ServerStart

DOCKERFILE = "Dockerfile"
LOADTESTER_TARGET = "flagger"

# The namespace in addresses that need one. The files say where to change it.
NAMESPACE = "default"

_PYTHON_IMAGE = "python:3.12-slim-bookworm"
_LOADTESTER_IMAGE = "ghcr.io/fluxcd/flagger-loadtester:0.34.0"
# Any user but root works.
_USER = 65532

_DISTRIBUTION = "sparsehead"

_CONFIG_DIRECTORY = "/etc/model-server"

# How often to retry a check that did not reach the server, and how long all tries together may take.
_RETRIES = 5
_DEADLINE_SECONDS = 900

_DOCKERFILE = """\
# The image that checks a candidate: serving-client, without TensorFlow. In this directory:
#   docker build --tag sparsehead-client:{version} .
# For Flagger, whose webhooks call a server of its own, with that server beside the client:
#   docker build --target {target} --tag sparsehead-client:{version}-{target} .
# The releases are those of the environment that wrote this file. It was never built: see docs/deploying.md.
FROM {python} AS client
RUN pip install --no-cache-dir \\
{requirements}
USER {user}

FROM {loadtester} AS loadtester

FROM client AS {target}
COPY --from=loadtester /home/app/loadtester /usr/local/bin/loadtester
ENTRYPOINT ["loadtester"]

# Without --target this one is built.
FROM client
"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A version that a rollout brings to a model's callers.

    Attributes:
        start: how its server starts.
        model: the model's name.
        version: the version's number.
    """

    start: ServerStart
    model: str
    version: int

    @property
    def name(self) -> str:
        """The name of the model's servers."""
        return kubernetes_name(self.model)

    @property
    def config_name(self) -> str:
        """The name of the ConfigMap, which differs for every version."""
        return f"{self.name}-v{self.version}"

    @property
    def base_path(self) -> str:
        """Where the server sees the model's versions."""
        return f"{self.start.root.rstrip('/')}/{self.model}"

    @property
    def template_labels(self) -> dict[str, str]:
        """The labels of a server's pod."""
        return {**name_label(self.name), "app.kubernetes.io/version": str(self.version)}


def client_image(target: str | None = None) -> str:
    """Return the name of the image that the Dockerfile builds."""
    return f"sparsehead-client:{_release()}{f'-{target}' if target else ''}"


def header(what: str, *lines: str) -> str:
    """Return the comment at the top of a file: what it is for, and that it was never applied to a cluster."""
    said = (
        what,
        "",
        "Not tried: this was never applied to a cluster, and no controller has read it. It is valid against the",
        "schemas of its kinds, and the check's own command was run against stand-in servers, right and wrong ones.",
        f"{client_image()} is built by ../{DOCKERFILE}: push it where the cluster finds it.",
        *lines,
    )
    return "".join(f"# {line}".rstrip() + "\n" for line in said)


def config_map(candidate: Candidate, base_path: str) -> Manifest:
    """Return the config of a server that serves only the candidate, as its `stable` version."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": candidate.config_name, "labels": name_label(candidate.name)},
        "immutable": True,
        "data": {MODELS_CONFIG: only_version(candidate.model, candidate.version, base_path)},
    }


def config_flag() -> str:
    """Return the path where a server finds the config of `config_map`."""
    return f"{_CONFIG_DIRECTORY}/{MODELS_CONFIG}"


def config_mount() -> Manifest:
    """Return the mount of the ConfigMap in a container."""
    return {"name": "config", "mountPath": _CONFIG_DIRECTORY, "readOnly": True}


def config_volume(candidate: Candidate) -> Manifest:
    """Return the volume of the ConfigMap."""
    return {"name": "config", "configMap": {"name": candidate.config_name}}


def candidate_pod(candidate: Candidate) -> Manifest:
    """Return the pod of a server that serves only the candidate."""
    pod = server_pod(candidate.start, candidate.start.flags_for(config_flag()))
    (container,) = pod["containers"]
    container["volumeMounts"].append(config_mount())
    pod["volumes"].append(config_volume(candidate))
    return pod


def check_command(candidate: Candidate, address: str) -> list[str]:
    """Return the command that checks whether the servers at an address serve the candidate as exported."""
    version = candidate.version
    golden = f"{_golden(candidate)}{version}"
    return [*_client(candidate, address), "check", f"--version={version}", golden, *_answers(candidate)]


def check_script(candidate: Candidate, address: str) -> str:
    """Return a shell script that runs the same check for whichever version the servers at an address have.

    A rollback changes the pod template but not the gate, and a gate that named the newer version would refuse the
    older one. The template pins the version, so the servers have no other.
    """
    client = shlex.join(_client(candidate, address))
    golden, answers = shlex.quote(_golden(candidate)), shlex.join(_answers(candidate))
    read = shlex.quote('import json, sys; print(json.load(sys.stdin)["version"])')
    # In backticks, because Kubernetes would expand $( ) as a variable.
    return (
        f"found=`{client} metadata --json` || exit $?\n"
        f'version=`printf %s "$found" | python -c {read}` || exit 2\n'
        f'exec {client} check --version="$version" {golden}"$version" {answers}\n'
    )


def check_job(candidate: Candidate, command: Sequence[str], final: Sequence[int] = (1, 2)) -> Manifest:
    """Return the spec of a Job that runs the check: a "no" ends it at once, and a server out of reach is tried again.

    Exit status 1 means "no"; 2, a check that cannot run, for example because the version is absent; 3, a server that
    was not reached; 4, a file or network error on our side. The deadline is for an image that cannot be pulled, which
    alone does not fail a Job.

    Args:
        candidate: the version whose golden records the Job needs.
        command: the command of the check.
        final: the exit statuses that a retry cannot change.
    """
    again = [status for status in (1, 2, 3, 4) if status not in final]
    container = {
        "name": "check",
        "image": client_image(),
        "command": list(command),
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [models_mount(candidate.start)],
    }
    return {
        "backoffLimit": _RETRIES,
        "activeDeadlineSeconds": _DEADLINE_SECONDS,
        "podFailurePolicy": {
            "rules": [
                # Kubernetes before 1.28, and controllers built with its types, need the conditions even if empty.
                {"action": "FailJob", "onExitCodes": _exit_codes(*final), "onPodConditions": []},
                {"action": "Count", "onExitCodes": _exit_codes(*again), "onPodConditions": []},
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            ]
        },
        "template": {
            "metadata": {"labels": name_label(f"{candidate.name}-check")},
            "spec": {
                "restartPolicy": "Never",
                "securityContext": {"runAsNonRoot": True},
                "containers": [container],
                "volumes": [models_volume()],
            },
        },
    }


def dockerfile() -> str:
    """Return the Dockerfile of the client's image, with the releases in this environment."""
    requirements = " \\\n".join(f"    {requirement}" for requirement in _requirements())
    return _DOCKERFILE.format(
        version=_release(),
        target=LOADTESTER_TARGET,
        python=_PYTHON_IMAGE,
        requirements=requirements,
        user=_USER,
        loadtester=_LOADTESTER_IMAGE,
    )


def _client(candidate: Candidate, address: str) -> list[str]:
    return ["serving-client", f"--address={address}", f"--model={candidate.model}"]


def _golden(candidate: Candidate) -> str:
    """Return the option for the golden records, without the version's number at its end."""
    return f"--golden={candidate.base_path}/"


def _answers(candidate: Candidate) -> list[str]:
    return [*(["--gpu"] if candidate.start.on_gpu else []), "--json"]


def _exit_codes(*codes: int) -> Manifest:
    return {"containerName": "check", "operator": "In", "values": list(codes)}


def _release() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        # A source tree that is not installed.
        return "unreleased"


def _requirements() -> list[str]:
    """Return the client and all its dependencies, in the releases of this environment."""
    found: dict[str, str] = {}
    wanted = [_DISTRIBUTION]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            # For another platform only, or this package itself if it is not installed.
            continue
        needed = (each for each in metadata.requires(name) or () if "extra ==" not in each)
        wanted += [re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in needed]
    return sorted(found.values()) or [_DISTRIBUTION]
