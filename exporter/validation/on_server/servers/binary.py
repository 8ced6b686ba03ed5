"""A tensorflow_model_server, or the stand-in, as a program on this machine."""

import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

from exporter.deploy.start import ServerStart
from exporter.errors import ExportError
from exporter.validation.on_server.servable import Servable, flags_of
from exporter.validation.on_server.servers.commands import end_group, free_ports, run
from exporter.validation.on_server.servers.server import Reproduction, how_it_ended

# The XLA flag for CPUs works for any server, even on a GPU; only newer servers know the flag for GPUs.
_ANY_IMAGE = "tensorflow/serving:latest"
_GROWTH = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}


class BinaryServer:
    """A program that takes the flags of tensorflow_model_server.

    Args:
        program: its path.
        servable: what it serves.
        work: an empty directory for its files.
    """

    def __init__(self, program: str, servable: Servable, work: Path) -> None:
        self._program = program
        self._servable = servable
        self._work = work.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> None:
        """Start it with the work directory as its root, which has a link to the version."""
        root = str(self._work)
        self._servable.write_files(self._work / "deploy", root)
        version = Path(self._servable.path_under(str(self._work)))
        version.parent.mkdir()
        version.symlink_to(self._servable.directory.resolve())
        self._port, rest_port = free_ports(2)
        start = replace(self._start_at(root), grpc_port=self._port, rest_port=rest_port)
        try:
            with self._log_file.open("wb") as log:
                self._process = subprocess.Popen(
                    [self._program, *flags_of(start)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **_GROWTH},
                    # Ctrl-C reaches this process, which then stops the server.
                    start_new_session=True,
                )
        except OSError as error:
            raise ExportError(f"{self._program} cannot be started: {error.strerror}.") from error

    def stop(self) -> None:
        """Ask it to end, then kill it, with everything that it started."""
        if self._process is not None:
            end_group(self._process)

    def ended(self) -> str | None:
        """Return how it ended."""
        status = None if self._process is None else self._process.poll()
        return None if status is None else how_it_ended(status)

    def address(self) -> str | None:
        """Return its port, which it opens when the model is available."""
        return f"127.0.0.1:{self._port}"

    def log(self) -> str:
        """Return its stdout and stderr."""
        return self._log_file.read_text(encoding="utf-8", errors="replace")

    def version(self) -> str:
        """Run the program again, with --version."""
        return run([self._program, "--version"], give_up=True).stdout

    def reproduction(self) -> Reproduction:
        """Serve the kept directory through a link in a separate directory, where it has its version number."""
        root = f"/tmp/reproduce-{self._servable.directory.name.lstrip('.')}"
        start = self._start_at(root)
        version = shlex.quote(self._servable.path_under(root))
        return Reproduction(
            start=(
                f"mkdir -p {shlex.quote(f'{root}/{self._servable.model}')}",
                f'ln -sfn "$PWD" {version} && ln -sfn "$PWD/reproduce" {root}/deploy',
                f"{shlex.join([self._program, *flags_of(start)])} >{root}/log 2>&1 &",
                "server=$!",
            ),
            alive='kill -0 "$server"',
            stop=f'kill "$server"; tail -n 20 {root}/log; rm -r {root}',
            root=root,
        )

    def _start_at(self, root: str) -> ServerStart:
        return replace(self._servable.start, image=_ANY_IMAGE, root=root)

    @property
    def _log_file(self) -> Path:
        return self._work / "log"
