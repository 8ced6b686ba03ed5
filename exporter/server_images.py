"""Tell from an image's tag and `server_images.toml` whether it can serve an export."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Version: TypeAlias = tuple[int, ...]

_DATA = tomllib.loads(Path(__file__).with_name("server_images.toml").read_text(encoding="utf-8"))
_REPOSITORY: str = _DATA["repository"]
_SINCE: dict[str, str] = _DATA["since"]

DEFAULT_IMAGE = f"{_REPOSITORY}:{_DATA['default']}"


@dataclass(frozen=True)
class ServerImage:
    """What the name of a server image says about it.

    Attributes:
        version: the release of TensorFlow Serving, or None if the tag does not say.
        gpu: whether it is for a GPU. An image of another repository is assumed to be.
    """

    version: Version | None
    gpu: bool


@dataclass(frozen=True)
class ImageProblem:
    """Why an image may not serve an export as it should.

    Attributes:
        message: one sentence for the user.
        refuses: whether it fails the export unless the user insists; otherwise it is a warning.
    """

    message: str
    refuses: bool


def parse_image(image: str) -> ServerImage:
    """Read an image's name: the release that its tag begins with, and whether it is for a GPU.

    Example:
        >>> parse_image("tensorflow/serving:2.20.0-gpu")
        ServerImage(version=(2, 20, 0), gpu=True)
    """
    name, _, digest = image.partition("@")
    repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    number = re.match(r"v?(\d+\.\d+(\.\d+)?)(?![\w.])", tag)
    official = repository.removeprefix("docker.io/") == _REPOSITORY
    return ServerImage(
        version=_version(number[1]) if number else None,
        # In the official repository, tags of CPU images have no suffix.
        gpu="gpu" in tag or not official or bool(digest and not tag),
    )


def check_image(image: str, tensorflow_version: str, *, jit_compile: bool = False) -> tuple[ImageProblem, ...]:
    """Return the reasons why an image may not serve an export from this TensorFlow.

    A server whose TensorFlow is older than the exporting one is outside TensorFlow's compatibility guarantee
    (https://www.tensorflow.org/guide/versions). Patch releases share their minor version's graphs, and count as equal.

    Args:
        image: as in "tensorflow/serving:2.20.0-gpu".
        tensorflow_version: the version of the exporting TensorFlow, `tf.__version__`.
        jit_compile: whether XLA compiles the model.

    Example:
        >>> [problem.message for problem in check_image("tensorflow/serving:2.19.1-gpu", "2.20.0")]
        ['tensorflow/serving:2.19.1-gpu is older than the exporting TensorFlow 2.20.0: use 2.20 or newer.']
    """
    parsed = parse_image(image)
    if parsed.version is None:
        message = (
            f"The tag of {image} names no release, so it is unknown whether it can serve the export: use one that does."
        )
        return (ImageProblem(message, refuses=False),)
    problems = []
    exporting = _version(tensorflow_version)
    if parsed.version[:2] < exporting[:2]:
        wanted = ".".join(map(str, exporting[:2]))
        message = f"{image} is older than the exporting TensorFlow {tensorflow_version}: use {wanted} or newer."
        problems.append(ImageProblem(message, refuses=True))
    if parsed.version < _version(_SINCE["input_defaults"]):
        message = (
            f"{image} ignores the default of k, so every request would need k: use {_SINCE['input_defaults']} or newer."
        )
        problems.append(ImageProblem(message, refuses=True))
    if jit_compile and parsed.gpu and parsed.version < _version(_SINCE["xla_on_gpu"]):
        message = f"{image} has no XLA for GPUs, so every request would fail: use {_SINCE['xla_on_gpu']} or newer."
        problems.append(ImageProblem(message, refuses=True))
    return tuple(problems)


def _version(text: str) -> Version:
    """Return the numbers that a version begins with: (2, 20, 0) for "2.20.0" and for "2.20.0-rc1"."""
    numbers = re.match(r"\d+(\.\d+)*", text)
    if numbers is None:
        raise ValueError(f"{text!r} is not a version; a version begins with numbers, as in 2.20.0.")
    return tuple(int(number) for number in numbers[0].split("."))
