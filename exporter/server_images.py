"""Which server image can serve an export: what the image's tag says, against `server_images.toml`."""

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
    """A server image, as far as its name tells.

    Attributes:
        version: the release of TensorFlow Serving, or None where the tag does not say.
        gpu: whether it is for a GPU. An image under another name, whose tag does not say, is taken to be.
    """

    version: Version | None
    gpu: bool


@dataclass(frozen=True)
class ImageProblem:
    """Why an image may not serve an export as it should.

    Attributes:
        message: one sentence for the user.
        refuses: whether to export for this image only when told to; otherwise it is a warning.
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
        # The tags of the repository's images for a CPU carry no mark.
        gpu="gpu" in tag or not official or bool(digest and not tag),
    )


def check_image(image: str, tensorflow_version: str, *, jit_compile: bool = False) -> tuple[ImageProblem, ...]:
    """Say what speaks against serving an export of this TensorFlow with an image; nothing where all is well.

    A server whose TensorFlow is older than the exporting one is outside TensorFlow's compatibility guarantee
    (https://www.tensorflow.org/guide/versions). Patch releases share a minor version's graph and are not told apart.

    Args:
        image: as in "tensorflow/serving:2.20.0-gpu".
        tensorflow_version: of the TensorFlow that exports, `tf.__version__`.
        jit_compile: whether the model must be compiled by XLA.

    Example:
        >>> [problem.message for problem in check_image("tensorflow/serving:2.19.1-gpu", "2.20.0")]
        ['tensorflow/serving:2.19.1-gpu is older than TensorFlow 2.20.0, which exports: use 2.20 or newer.']
    """
    parsed = parse_image(image)
    if parsed.version is None:
        message = (
            f"The tag of {image} names no release, so nothing is known of how it serves a model: use one that does."
        )
        return (ImageProblem(message, refuses=False),)
    problems = []
    exporting = _version(tensorflow_version)
    if parsed.version[:2] < exporting[:2]:
        wanted = ".".join(map(str, exporting[:2]))
        message = f"{image} is older than TensorFlow {tensorflow_version}, which exports: use {wanted} or newer."
        problems.append(ImageProblem(message, refuses=True))
    if parsed.version < _version(_SINCE["input_defaults"]):
        message = (
            f"{image} ignores the default of k, so no request may omit it: use {_SINCE['input_defaults']} or newer."
        )
        problems.append(ImageProblem(message, refuses=True))
    if jit_compile and parsed.gpu and parsed.version < _version(_SINCE["xla_on_gpu"]):
        message = f"{image} has no XLA on a GPU, so every request would fail: use {_SINCE['xla_on_gpu']} or newer."
        problems.append(ImageProblem(message, refuses=True))
    return tuple(problems)


def _version(text: str) -> Version:
    """The numbers that a version begins with: (2, 20, 0) of "2.20.0" and of "2.20.0-rc1"."""
    found = re.match(r"\d+(\.\d+)*", text)
    if found is None:
        raise ValueError(f"{text!r} is no version; one begins with numbers, as in 2.20.0.")
    return tuple(int(number) for number in found[0].split("."))
