"""The gate of every rollout: the check of a candidate against its golden records, and what runs the check.

A rollout controller acts when a pod template changes, but servers that follow `models.config` on a volume never change
theirs. So here the template holds the version: a pod mounts a ConfigMap with the version in its name, and the config
in it names only that version.
"""

import re
import shlex
from dataclasses import dataclass
from importlib import metadata

from exporter.deploy.kubernetes import kubernetes_name
from exporter.deploy.start import ServerStart
from exporter.deploy.templates import fill_text, read_template

# The namespace in addresses that need one. The files say where to change it.
NAMESPACE = "default"

_DISTRIBUTION = "sparsehead"


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
    def base_path(self) -> str:
        """Where the server sees the model's versions."""
        return f"{self.start.root.rstrip('/')}/{self.model}"


def client_image(target: str | None = None) -> str:
    """Return the name of the image that the Dockerfile builds."""
    return f"sparsehead-client:{_release()}{f'-{target}' if target else ''}"


def check_command(candidate: Candidate, address: str) -> list[str]:
    """Return the command that checks whether the servers at an address serve the candidate as exported."""
    version = candidate.version
    golden = f"{_golden(candidate)}{version}"
    return [*_client(candidate, address), "check", f"--version={version}", golden, *_check_options(candidate)]


def check_script(candidate: Candidate, address: str) -> str:
    """Return a shell script that runs the same check for whichever version the servers at an address have.

    A rollback changes the pod template but not the gate, and a gate that named the newer version would refuse the
    older one. The template pins the version, so the servers have no other.
    """
    client = shlex.join(_client(candidate, address))
    golden, options = shlex.quote(_golden(candidate)), shlex.join(_check_options(candidate))
    read = shlex.quote('import json, sys; print(json.load(sys.stdin)["version"])')
    # In backticks, because Kubernetes would expand $( ) as a variable.
    return (
        f"found=`{client} metadata --json` || exit $?\n"
        f'version=`printf %s "$found" | python -c {read}` || exit 2\n'
        f'exec {client} check --version="$version" {golden}"$version" {options}\n'
    )


def dockerfile() -> str:
    """Return the Dockerfile of the client's image, with the releases in this environment."""
    values = {
        "client_image": client_image(),
        "loadtester_image": client_image("flagger"),
        "requirements": " \\\n".join(f"    {requirement}" for requirement in _requirements()),
    }
    return fill_text(read_template("Dockerfile"), values)


def _client(candidate: Candidate, address: str) -> list[str]:
    return ["serving-client", f"--address={address}", f"--model={candidate.model}"]


def _golden(candidate: Candidate) -> str:
    """Return the option for the golden records, without the version's number at its end."""
    return f"--golden={candidate.base_path}/"


def _check_options(candidate: Candidate) -> list[str]:
    return [*(["--gpu"] if candidate.start.on_gpu else []), "--json"]


def _release() -> str:
    try:
        return metadata.version(_DISTRIBUTION)
    except metadata.PackageNotFoundError:
        # A source tree that is not installed.
        return "unreleased"


def _requirements() -> list[str]:
    """Return the client and all its dependencies, in the releases of this environment."""
    pinned: dict[str, str] = {}
    wanted = [_DISTRIBUTION]
    while wanted:
        name = wanted.pop()
        if name in pinned:
            continue
        try:
            pinned[name] = f"{name}=={metadata.version(name)}"
        except metadata.PackageNotFoundError:
            # For another platform only, or this package itself if it is not installed.
            continue
        needed = (each for each in metadata.requires(name) or () if "extra ==" not in each)
        wanted += [re.split(r"[^\w.-]", each, maxsplit=1)[0].lower() for each in needed]
    return sorted(pinned.values()) or [_DISTRIBUTION]
