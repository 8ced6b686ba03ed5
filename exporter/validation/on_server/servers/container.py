"""A server in a container of Docker or Podman."""

import csv
import io
import shlex
import uuid
from dataclasses import replace
from pathlib import Path

from exporter.deploy.start import GRPC_PORT, container_options
from exporter.errors import ExportError
from exporter.validation.on_server.servable import Servable, flags_of
from exporter.validation.on_server.servers.commands import Finished, run
from exporter.validation.on_server.servers.server import Reproduction, how_it_ended
from exporter.validation.on_server.target import Target

# A server image may take gigabytes.
_PULL_SECONDS = 3600.0


class ContainerServer:
    """A container whose ports are open only to this machine.

    Args:
        target: the engine and the image.
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

    def start(self) -> None:
        """Fetch the image if it is not here, and run it."""
        if self._engine("image", "inspect", self._image).status:
            pulled = run([self._target.program, "pull", self._image], seconds=_PULL_SECONDS, give_up=True)
            self._require(pulled, f"cannot fetch {self._image}")
        deploy = self._work / "deploy"
        self._servable.write_files(deploy, self._start.root)
        mounts = [
            _mount(str(self._servable.directory.resolve()), self._version_path),
            _mount(str(deploy), self._start.directory),
        ]
        started = self._engine(*self._run_arguments(f"127.0.0.1::{GRPC_PORT}", mounts))
        self._require(started, f"cannot run {self._image}")

    def stop(self) -> None:
        """Remove it, whether it runs, has ended, or was never created."""
        self._engine("rm", "--force", "--volumes", self._name)

    def ended(self) -> str | None:
        """Ask the engine for its state."""
        state = self._engine(
            "inspect", "--format={{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}", self._name
        )
        if state.status:
            # The engine may just be busy.
            return f"the container is gone: {state.last_line}" if "no such" in state.stderr.lower() else None
        status, code, out_of_memory = state.stdout.split()
        if status not in ("exited", "dead", "stopped"):
            return None
        return how_it_ended(int(code), out_of_memory=out_of_memory == "true")

    def address(self) -> str | None:
        """Ask the engine which port of this machine it chose."""
        addresses = self._engine("port", self._name, f"{GRPC_PORT}/tcp").stdout.split()
        return addresses[0] if addresses else None

    def log(self) -> str:
        """Return its stdout and stderr."""
        logs = self._engine("logs", self._name)
        return f"{logs.stdout}\n{logs.stderr}"

    def version(self) -> str:
        """Ask the program in the container."""
        return self._engine("exec", self._name, "tensorflow_model_server", "--version").stdout

    def reproduction(self) -> Reproduction:
        """Run it with the kept directory."""
        mounts = [_mount("$PWD", self._version_path), _mount("$PWD/reproduce", self._start.directory)]
        command = [self._target.engine, *self._run_arguments(f"127.0.0.1:{GRPC_PORT}:{GRPC_PORT}", mounts)]
        # The shell that runs the script knows the directory.
        line = " ".join(f'"{word}"' if "$PWD" in word else shlex.quote(word) for word in command)
        engine, name = self._target.engine, self._name
        return Reproduction(
            start=(f"{line} >/dev/null || exit",),
            alive=f'test "$({engine} inspect --format={{{{.State.Running}}}} {name})" = true',
            stop=f"{engine} logs {name} 2>&1 | tail -n 20; {engine} rm --force {name}",
            root=self._start.root,
        )

    @property
    def _image(self) -> str:
        """The image's name. Podman needs the registry, or it asks the user for one."""
        official = self._target.engine == "podman" and self._target.image.startswith("tensorflow/serving")
        return f"docker.io/{self._target.image}" if official else self._target.image

    def _run_arguments(self, publish: str, mounts: list[str]) -> list[str]:
        return [
            "run",
            "--detach",
            f"--name={self._name}",
            *container_options(self._start, self._target.engine),
            # Under SELinux, containers could not read files that are not labeled for them.
            "--security-opt=label=disable",
            f"--publish={publish}",
            *(f"--mount={mount}" for mount in mounts),
            self._image,
            *flags_of(self._start),
        ]

    def _engine(self, *arguments: str) -> Finished:
        return run([self._target.program, *arguments])

    def _require(self, finished: Finished, failure: str) -> None:
        if finished.status:
            problem = finished.last_line
            if self._start.on_gpu and ("gpu" in problem.lower() or "nvidia" in problem.lower()):
                problem += " Where there is no GPU, name an image for the CPU, as in docker:tensorflow/serving:2.20.0."
            raise ExportError(f"--validate-on {self._target}: {self._target.engine} {failure}: {problem}")


def _mount(source: str, target: str) -> str:
    """Return the value of --mount, which is a line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}", "readonly"])
    return line.getvalue()
