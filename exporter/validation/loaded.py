"""A version loaded as a server loads it, in this process.

The stand-in server's loader restores variables through the graph's own restore op, as a server does.
`tf.saved_model.load` does not, so it accepts versions that would fail every request.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from exporter.errors import ValidationError, reason
from server.errors import ServingError
from server.loader import load
from signatures.contract import names

Arrays = Mapping[str, npt.NDArray[Any]]


class LoadedVersion:
    """A version in a server's session, to be called by signature and input names. A context manager.

    Raises:
        ServingError: when a server could not load the directory.

    Example:
        >>> with LoadedVersion(Path("models/digits/1")) as version:
        ...     version.call("serving_default", {"images": images})["probabilities"]
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        started = time.monotonic()
        self._session = load(directory, xla_enabled=True)
        self._load_seconds = time.monotonic() - started
        # By signature and shapes, how long the first run took: it prepares the graph, and may compile it.
        self._first_runs: dict[Any, float] = {}
        self._preparing = ThreadPoolExecutor(1)

    def prepare(self) -> None:
        """Let a thread optimize the graph of each signature, which takes longer than running it.

        A server does this at the first request. A request to a signature that is not ready waits for the thread.
        """
        # The dense scores that others are compared with come first.
        for key in sorted(self.signatures, key=lambda key: (key not in (names.DENSE, names.SERVING_DEFAULT), key)):
            self._preparing.submit(self._prepare, key)

    def _prepare(self, key: str) -> None:
        signature, started = self.signatures[key], time.monotonic()
        # What fails here fails again when the signature is called.
        with suppress(ServingError):
            self._session.prepare([info.name for info in signature.inputs.values()], _fetches(signature))
        self._first_runs[key] = time.monotonic() - started

    @property
    def warmup_seconds(self) -> float:
        """How long it took to load, to prepare each signature, and to run it the first time with each shape so far."""
        return self._load_seconds + sum(self._first_runs.values())

    @cached_property
    def signatures(self) -> Mapping[str, Any]:
        """The SignatureDefs by key."""
        return {key: each for key, each in self._session.signatures.items() if not key.startswith("__")}

    @cached_property
    def graph_def(self) -> Any:
        """The graph as it was written to disk."""
        content = (self.directory / "saved_model.pb").read_bytes()
        return saved_model_pb2.SavedModel.FromString(content).meta_graphs[0].graph_def

    def call(self, key: str, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run one signature; omitted inputs get their defaults from the SignatureDef, as on a server.

        Raises:
            ServingError: the error that a server would answer with.
        """
        signature = self.signatures[key]
        feeds = {
            info.name: inputs[name] if name in inputs else tf.make_ndarray(signature.defaults[name])
            for name, info in signature.inputs.items()
        }
        started = time.monotonic()
        outputs = self._session.run(feeds, _fetches(signature))
        shapes = (key, *sorted((name, array.shape) for name, array in feeds.items()))
        self._first_runs.setdefault(shapes, time.monotonic() - started)
        return dict(zip(signature.outputs, outputs, strict=True))

    def close(self) -> None:
        """Free the session."""
        self._preparing.shutdown(cancel_futures=True)
        self._session.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _fetches(signature: Any) -> list[str]:
    return [info.name for info in signature.outputs.values()]


@contextmanager
def loaded_by_a_server(directory: Path, step: Callable[[str], AbstractContextManager[Any]]) -> Iterator[LoadedVersion]:
    """Load a version to validate it.

    Raises:
        ValidationError: when a server could not load it, or fails a request that it must answer.
    """
    try:
        with step("Loading it as a server does"):
            version = LoadedVersion(directory)
        with version:
            version.prepare()
            yield version
    except ServingError as error:
        raise ValidationError(f"The version fails where a server would run it: {reason(error)}.") from error
