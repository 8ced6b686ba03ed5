"""A version loaded as a server loads it, in this process.

A server restores variables through the graph's own restore op in a TF1-style session. `tf.saved_model.load` does not,
and finds versions good that then fail every request.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy.typing as npt
import tensorflow as tf

Arrays = Mapping[str, npt.NDArray[Any]]


class LoadedVersion:
    """A version in a TF1-style session, called as a server calls it. A context manager.

    Raises:
        OSError: when there is no SavedModel in the directory.

    Example:
        >>> with LoadedVersion(Path("models/digits/1")) as version:
        ...     version.call("serving_default", {"images": images})["probabilities"]
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            self.meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(directory))

    @property
    def signatures(self) -> Mapping[str, Any]:
        """The SignatureDefs by key."""
        signatures: Mapping[str, Any] = self.meta_graph.signature_def
        return {key: signatures[key] for key in signatures if not key.startswith("__")}

    def call(self, key: str, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run one signature; inputs left out get their defaults from the SignatureDef, as on a server.

        Raises:
            tf.errors.OpError: what the server would answer with.
        """
        signature = self.signatures[key]
        feeds = {
            info.name: inputs[name] if name in inputs else tf.make_ndarray(signature.defaults[name])
            for name, info in signature.inputs.items()
        }
        fetches = {name: info.name for name, info in signature.outputs.items()}
        outputs: dict[str, npt.NDArray[Any]] = self._session.run(fetches, feeds)
        return outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
