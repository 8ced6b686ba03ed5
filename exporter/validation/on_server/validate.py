"""Validate a staged version on a server that it is meant for: load it, check it, send malformed requests, and stop."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.errors import ValidationError
from exporter.server_images import parse_image
from exporter.validation.on_server.check import ask_three_questions
from exporter.validation.on_server.log import CPU, device
from exporter.validation.on_server.readiness import wait_until_available
from exporter.validation.on_server.reproduce import SCRIPT, write_script
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.servers.binary import BinaryServer
from exporter.validation.on_server.servers.container import ContainerServer
from exporter.validation.on_server.servers.pod import PodServer
from exporter.validation.on_server.servers.server import Server
from exporter.validation.on_server.signals import deferred_signals, signals_that_unwind
from exporter.validation.on_server.survival import survive
from exporter.validation.on_server.target import Target


@dataclass(frozen=True, kw_only=True)
class ServedVerdict:
    """What a server's answers say about a version; `dataclasses.asdict` makes it JSON.

    Attributes:
        target: the server, as "docker:IMAGE", "podman:IMAGE", "kubectl:IMAGE" or a path.
        passed: whether the check passed, and the server survived every malformed request.
        server: the server's version, as it reports it, or else from its image's tag; None if unknown.
        tensorflow: the version of the server's TensorFlow; None if it does not report it.
        device: what it computed on: "CPU", or the GPU that its log names.
        startup_seconds: how long it took until the version was available, warm-up included.
        answers: how many answers the check judged.
        near_ties: how many of them differ only at a near tie.
        largest_difference: the largest difference between a dense score and the Keras model's.
        not_asked: the signatures that the check could not call.
        malformed_requests: how many were sent.
    """

    target: str
    passed: bool
    server: str | None
    tensorflow: str | None
    device: str
    startup_seconds: float
    answers: int
    near_ties: int
    largest_difference: float
    not_asked: Sequence[str]
    malformed_requests: int

    def warnings(self, target: Target) -> list[str]:
        """Return what the user should know about it, one sentence each."""
        sentences = [f"{target} was not asked about {key}." for key in self.not_asked]
        if self.device == CPU and target.engine != "binary" and parse_image(target.image).gpu:
            sentences.append(f"{target} is an image for a GPU, and computed on the CPU: its log names no GPU.")
        return sentences


def validate_on_server(target: Target, servable: Servable, work: Path, *, keep_failed: bool = False) -> ServedVerdict:
    """Serve a staged version, check it, send malformed requests, and stop the server, whatever happens.

    Args:
        target: the server.
        servable: the version, with its export.json.
        work: an empty directory for the server's files, which the caller removes.
        keep_failed: write a script into the version's directory that reproduces a failure.

    Returns:
        The verdict on a version that passed.

    Raises:
        ValidationError: when the server cannot serve it, answers wrongly, or does not survive.
        ExportError: when the server cannot be started, which says nothing about the version.
    """
    server = _server(target, servable, work)
    with signals_that_unwind(), _stopped(server):
        try:
            server.start()
            return _validated(server, target, servable, work)
        except ValidationError as error:
            if keep_failed:
                write_script(server, servable, error, gpu=device(server.log()) != CPU)
                error.add_note(f"{SCRIPT} in the kept version reproduces this.")
            raise


def _validated(server: Server, target: Target, servable: Servable, work: Path) -> ServedVerdict:
    started = time.monotonic()
    address = wait_until_available(server, target, servable)
    seconds = time.monotonic() - started
    computed_on = device(server.log())
    verdict = ask_three_questions(server, address, target, servable, work, gpu=computed_on != CPU)
    count = survive(server, address, target, servable)
    versions = _versions(server.version())
    return ServedVerdict(
        target=str(target),
        passed=True,
        server=versions.get("TensorFlow ModelServer") or _tag(target),
        tensorflow=versions.get("TensorFlow Library"),
        device=computed_on,
        startup_seconds=round(seconds, 3),
        answers=verdict["backbone"]["answers"] + verdict["head"]["answers"],
        near_ties=verdict["backbone"]["near_ties"] + verdict["head"]["near_ties"],
        largest_difference=verdict["backbone"]["largest_difference"],
        not_asked=[each["signature"] for each in verdict["not_asked"]],
        malformed_requests=count,
    )


def _server(target: Target, servable: Servable, work: Path) -> Server:
    if target.engine == "binary":
        return BinaryServer(target.program, servable, work)
    if target.engine == "kubectl":
        return PodServer(target, servable, work)
    return ContainerServer(target, servable, work)


@contextmanager
def _stopped(server: Server) -> Iterator[None]:
    try:
        yield
    finally:
        with deferred_signals():
            server.stop()


def _versions(output: str) -> dict[str, str]:
    """Read the output of --version: "TensorFlow ModelServer: 2.20.0", and a line for its TensorFlow Library."""
    pairs = (line.partition(": ") for line in output.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if value}


def _tag(target: Target) -> str | None:
    version = parse_image(target.image).version if target.image else None
    return None if version is None else ".".join(map(str, version))
