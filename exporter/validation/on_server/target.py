"""TARGET of `--validate-on`: which server serves a staged version, and whether that server can be started here."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from exporter.errors import ExportError
from exporter.options import ExportOptions
from exporter.validation.on_server.servers.commands import run

Engine: TypeAlias = Literal["docker", "podman", "kubectl", "binary"]

_ENGINES: tuple[Engine, ...] = ("docker", "podman", "kubectl")
# What a validation needs from a cluster: a pod, a command in it that copies the files, and a forwarded port.
_CAN_I = ("auth", "can-i", "create", "pods")
_RIGHTS: dict[str, tuple[str, ...]] = {
    "pods": _CAN_I,
    "pods/exec": (*_CAN_I, "--subresource=exec"),
    "pods/portforward": (*_CAN_I, "--subresource=portforward"),
}


@dataclass(frozen=True)
class Target:
    """A server to validate on.

    Attributes:
        engine: what starts it.
        image: its server image; "" for a binary.
        program: the command of the engine, or the binary.
    """

    engine: Engine
    image: str
    program: str

    def __str__(self) -> str:
        return self.program if self.engine == "binary" else f"{self.engine}:{self.image}"


def targets_of(options: ExportOptions) -> list[Target]:
    """Return the servers to validate on, and require that their engines work now.

    Raises:
        ExportError: when a target is invalid, or its command is missing or does not work.
    """
    targets = [_target(text, options.image) for text in dict.fromkeys(options.validate_on)]
    for engine, program in {target.engine: target.program for target in targets}.items():
        if engine != "binary":
            _require_working(engine, program)
    return targets


def images_of(targets: Sequence[str], image: str) -> list[str]:
    """Return the server images that an export must fit: the one that it is for, and those that targets name.

    Example:
        >>> images_of(["docker", "docker:tensorflow/serving:2.20.0"], "tensorflow/serving:2.20.0-gpu")
        ['tensorflow/serving:2.20.0-gpu', 'tensorflow/serving:2.20.0']
    """
    named = [text.partition(":")[2] for text in targets if text.partition(":")[0] in _ENGINES]
    return list(dict.fromkeys([image, *filter(None, named)]))


def _target(text: str, image: str) -> Target:
    for engine in _ENGINES:
        if text == engine or text.startswith(f"{engine}:"):
            program = shutil.which(engine)
            if program is None:
                raise ExportError(
                    f"--validate-on {text} needs the command {engine}, which is not on the PATH: install it, or pass "
                    "the path of a tensorflow_model_server."
                )
            return Target(engine, text.partition(":")[2] or image, program)
    # A program on this machine, by name or by path.
    program = shutil.which(text)
    if program is None:
        what = "this file cannot be run" if os.path.exists(text) else "there is no such command or file"
        raise ExportError(
            f"--validate-on {text}: {what}. Use docker, podman, kubectl, docker:IMAGE, or the path of a "
            "tensorflow_model_server."
        )
    return Target("binary", "", os.path.abspath(program))


def _require_working(engine: str, program: str) -> None:
    commands = _RIGHTS if engine == "kubectl" else {"containers": ("ps", "--quiet")}
    for what, arguments in commands.items():
        answer = run([program, *arguments], seconds=60, give_up=True)
        if answer.status:
            refused = answer.stdout.strip() == "no"
            problem = f"you may not create {what} in this namespace." if refused else answer.last_line
            raise ExportError(f"--validate-on {engine}: {engine} cannot be used here: {problem}")
