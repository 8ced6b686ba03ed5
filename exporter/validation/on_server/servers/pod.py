"""A server in a pod of a Kubernetes cluster, in the namespace that kubectl is set to.

The files are copied into a volume of the pod, through a container that runs before the server's. So the server sees the
version whole.
"""

import json
import shlex
import subprocess
import tarfile
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO, Any

from exporter.deploy.kubernetes import server_pod
from exporter.deploy.start import GRPC_PORT, NAME
from exporter.errors import ExportError
from exporter.validation.on_server.servable import Servable, flags_of
from exporter.validation.on_server.servers.commands import Finished, end_group, free_ports, run
from exporter.validation.on_server.servers.server import Reproduction, how_it_ended
from exporter.validation.on_server.target import Target

_COPY = "copy"
# The file that the copying container waits for.
_COMPLETE = ".complete"
# Reasons for which a container never starts.
_NEVER = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
# For finding a node, or starting one, and for fetching the image.
_SCHEDULING_SECONDS = 1800
# For the copy and for the validation. After that the cluster itself ends the pod.
_SPARE_SECONDS = 3600
_COPY_SECONDS = 3600.0
# kubectl may end when a client closes a connection through it. The loop ends with this process, even if that is killed.
_FORWARD = 'while kill -0 $PPID; do "$0" port-forward --address=127.0.0.1 "pod/$1" "$2"; sleep 0.2; done'


class PodServer:
    """A pod, and a forwarded port to it.

    Args:
        target: the image.
        servable: what it serves.
        work: an empty directory for its files.
    """

    def __init__(self, target: Target, servable: Servable, work: Path) -> None:
        self._target = target
        self._servable = servable
        self._start = replace(servable.start, image=target.image)
        self._version_path = servable.path_under(self._start.root)
        self._work = work.resolve()
        self._name = f"validate-{uuid.uuid4().hex[:12]}"
        self._forward: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> None:
        """Create the pod, and copy the files into it as soon as its first container runs."""
        deploy = self._work / "deploy"
        self._servable.write_files(deploy, self._start.root)
        manifest = json.dumps(self._manifest()).encode()
        self._require(self._kubectl("create", "--filename=-", feed=manifest), "cannot create a pod")
        self._wait_for_copy_container()
        for source, target in ((self._servable.directory, self._version_path), (deploy, self._start.directory)):
            arguments = self._copy_arguments(f"mkdir -p {target} && tar -xf - -C {target}")
            copied = run([self._target.program, *arguments], seconds=_COPY_SECONDS, feed=partial(_write_tar, source))
            self._require(copied, f"cannot copy {source.name} into the pod")
        self._require(self._kubectl(*self._copy_arguments(f"touch {self._complete}")), "cannot start the server")

    def stop(self) -> None:
        """Delete the pod, whether it runs, has ended, or was never created."""
        if self._forward is not None:
            end_group(self._forward)
            self._forward = None
        self._kubectl("delete", "pod", self._name, "--now", "--ignore-not-found")

    def ended(self) -> str | None:
        """Ask the cluster for its state."""
        status = self._status()
        if status is None:
            return "the pod is gone"
        terminated = _container(status, "containerStatuses", NAME).get("state", {}).get("terminated")
        if terminated:
            return how_it_ended(terminated["exitCode"], out_of_memory=terminated.get("reason") == "OOMKilled")
        if status.get("phase") in ("Failed", "Succeeded"):
            return f"the pod ended: {status.get('message') or status.get('reason') or status['phase']}"
        return None

    def address(self) -> str | None:
        """Forward a port once the pod is ready, and again whenever kubectl loses the connection."""
        if self._forward is None:
            if not _container(self._status() or {}, "containerStatuses", NAME).get("ready"):
                return None
            (self._port,) = free_ports(1)
            self._forward = subprocess.Popen(
                ["sh", "-c", _FORWARD, self._target.program, self._name, f"{self._port}:{GRPC_PORT}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return f"127.0.0.1:{self._port}"

    def log(self) -> str:
        """Return its stdout and stderr; before it starts, what the cluster says about the pod."""
        logs = self._kubectl("logs", self._name, f"--container={NAME}")
        if not logs.status and logs.stdout.strip():
            return logs.stdout
        conditions = (self._status() or {}).get("conditions", [])
        return "\n".join(each["message"] for each in conditions if each.get("message"))

    def version(self) -> str:
        """Ask the program in the pod."""
        command = ("tensorflow_model_server", "--version")
        return self._kubectl("exec", self._name, f"--container={NAME}", "--", *command).stdout

    def reproduction(self) -> Reproduction:
        """Create the pod of `reproduce/pod.json`, and copy the kept directory into it."""
        manifest = self._servable.directory / "reproduce" / "pod.json"
        manifest.parent.mkdir(exist_ok=True)
        manifest.write_text(json.dumps(self._manifest(), indent=1) + "\n", encoding="utf-8")
        version, deploy, name = self._version_path, self._start.directory, self._name

        def copy(command: str) -> str:
            return shlex.join(["kubectl", *self._copy_arguments(command)])

        return Reproduction(
            start=(
                "kubectl create --filename=reproduce/pod.json || exit",
                f"until {copy('true')} 2>/dev/null; do sleep 2; done",
                f"tar -cf - . | {copy(f'mkdir -p {version} && tar -xf - -C {version}')}",
                f"tar -cf - -C reproduce . | {copy(f'mkdir -p {deploy} && tar -xf - -C {deploy}')}",
                copy(f"touch {self._complete}"),
                f"while kubectl get pod {name}; do kubectl port-forward pod/{name} {GRPC_PORT}; sleep 1; done "
                ">/dev/null 2>&1 & forward=$!",
            ),
            alive=f'test "$(kubectl get pod {name} --output=jsonpath={{.status.phase}})" != Failed',
            stop=f'kill "$forward"; kubectl logs {name} --container={NAME} --tail=20; kubectl delete pod {name} --now',
            root=self._start.root,
        )

    @property
    def _complete(self) -> str:
        return f"{self._start.root.rstrip('/')}/{_COMPLETE}"

    def _manifest(self) -> dict[str, Any]:
        start = self._start
        pod = server_pod(start, flags_of(start))
        (server,) = pod["containers"]
        (mount,) = server["volumeMounts"]
        copying = {
            "name": _COPY,
            "image": start.image,
            "command": ["sh", "-c", f"until [ -e {self._complete} ]; do sleep 1; done"],
            "securityContext": server["securityContext"],
            "volumeMounts": [{**mount, "readOnly": False}],
        }
        spec = {
            **pod,
            "initContainers": [copying],
            "volumes": [{"name": mount["name"], "emptyDir": {}}],
            "restartPolicy": "Never",
            # For a pod that nobody is left to delete.
            "activeDeadlineSeconds": _SCHEDULING_SECONDS + self._servable.patience + _SPARE_SECONDS,
        }
        # Not the label by which a Service finds its servers.
        metadata = {"name": self._name, "labels": {"app.kubernetes.io/name": "sparsehead-validation"}}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def _wait_for_copy_container(self) -> None:
        deadline = time.monotonic() + _SCHEDULING_SECONDS
        while True:
            state = _container(self._status() or {}, "initContainerStatuses", _COPY).get("state", {})
            if "running" in state:
                return
            waiting = state.get("waiting", {})
            problem = self.ended()
            if waiting.get("reason") in _NEVER:
                problem = waiting.get("message") or waiting["reason"]
            if problem:
                raise ExportError(f"--validate-on {self._target}: the pod cannot start: {problem}")
            if time.monotonic() > deadline:
                reason = self.log() or "the cluster does not say why"
                raise ExportError(
                    f"--validate-on {self._target}: the pod did not start in {_SCHEDULING_SECONDS} s: {reason}"
                )
            time.sleep(0.5)

    def _copy_arguments(self, command: str) -> list[str]:
        return ["exec", "--stdin", self._name, f"--container={_COPY}", "--", "sh", "-c", command]

    def _status(self) -> Mapping[str, Any] | None:
        """Return the pod's status, which is empty while the cluster does not answer; None if the pod is gone."""
        pod = self._kubectl("get", "pod", self._name, "--output=json")
        if pod.status:
            return None if "NotFound" in pod.stderr else {}
        status: dict[str, Any] = json.loads(pod.stdout).get("status", {})
        return status

    def _kubectl(self, *arguments: str, feed: bytes | None = None) -> Finished:
        write = None if feed is None else lambda stream: stream.write(feed)
        return run([self._target.program, *arguments], feed=write)

    def _require(self, finished: Finished, failure: str) -> None:
        if finished.status:
            raise ExportError(f"--validate-on {self._target}: kubectl {failure}: {finished.last_line}")


def _container(status: Mapping[str, Any], kind: str, name: str) -> Mapping[str, Any]:
    """Return the status of a container; the cluster may have added others to the pod."""
    statuses: list[Mapping[str, Any]] = status.get(kind) or []
    return next((each for each in statuses if each["name"] == name), {})


def _write_tar(directory: Path, stream: IO[bytes]) -> None:
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.add(directory, arcname=".")
