"""Proofs that a staged version answers as the Keras model does, on its final bytes, loaded the way a server loads it.

A server restores variables through the graph's own restore op in a TF1-style session; `tf.saved_model.load` does not,
and finds versions good that then fail every request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ProofFailedError
from signatures import names

Arrays = Mapping[str, npt.NDArray[Any]]

# Keras and the session run the same kernels on the same machine, but fuse and thread them differently.
RTOL, ATOL = 1e-4, 1e-5


class LoadedVersion:
    """A version in a TF1-style session, called as a server calls it.

    Example:
        >>> with LoadedVersion(Path("models/digits/1")) as version:
        ...     version.call("serving_default", {"images": images})["probabilities"]
    """

    def __init__(self, directory: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta_graph = tf.compat.v1.saved_model.loader.load(self._session, ["serve"], str(directory))
        self.signatures = meta_graph.signature_def

    def call(self, key: str, inputs: Arrays) -> dict[str, npt.NDArray[Any]]:
        """Run one signature; inputs left out get their defaults from the SignatureDef, as on a server."""
        signature = self.signatures[key]
        feeds = {
            info.name: inputs[name] if name in inputs else tf.make_ndarray(signature.defaults[name])
            for name, info in signature.inputs.items()
        }
        outputs: dict[str, npt.NDArray[Any]] = self._session.run(
            {name: info.name for name, info in signature.outputs.items()}, feeds
        )
        return outputs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()


@dataclass(frozen=True)
class Claim:
    """What a version must answer.

    Attributes:
        samples: the model's inputs by name, [S, ...] each.
        dense: Keras's probabilities for them, [S, N].
        k: the default k.
        info: what `export_info` must say, by output name.
    """

    samples: Arrays
    dense: npt.NDArray[np.float32]
    k: int
    info: Mapping[str, Any]


def prove_dense(version: LoadedVersion, claim: Claim) -> None:
    """The dense answers (k = N) are those of the Keras model."""
    served = _call(version, names.SERVING_DEFAULT, claim.samples, claim.dense.shape[1])[names.PROBABILITIES]
    _compare(served, claim.dense, "The dense answer of serving_default and that of the Keras model", RTOL, ATOL)


def prove_head(version: LoadedVersion, claim: Claim) -> None:
    """Every signature keeps exactly the k largest of the dense answers, for every form of k."""
    examples, labels = claim.dense.shape
    dense = _call(version, names.SERVING_DEFAULT, claim.samples, labels)[names.PROBABILITIES]
    each = np.arange(examples, dtype=np.int32) % (labels + 3) - 1
    for k in (None, 0, 1, claim.k, labels, labels + 1, -1, each):
        asked = claim.k if k is None else k
        expected = keep_k_largest(dense, np.asarray(asked))
        said = "k left out" if k is None else f"k = {k if np.ndim(k) == 0 else 'one an example'}"
        sparse = _call(version, names.SERVING_DEFAULT, claim.samples, k)[names.PROBABILITIES]
        _compare(sparse, expected, f"serving_default with {said} and the k largest of its own dense answer")
        top = _call(version, names.TOP_K, claim.samples, k)
        _compare(_as_vector(top, labels), expected, f"top_k with {said} and the k largest of the dense answer")
    fixed = version.call(names.FIXED_K, claim.samples)[names.PROBABILITIES]
    _compare(fixed, keep_k_largest(dense, np.asarray(claim.k)), "fixed_k and the k largest of the dense answer")


def prove_guards(version: LoadedVersion, claim: Claim) -> None:
    """A wrong shape of any input, k included, is refused."""
    examples = len(claim.dense)
    for name, array in claim.samples.items():
        wrong = np.zeros((*array.shape, 2), array.dtype)
        _refused(version, names.SERVING_DEFAULT, {**claim.samples, name: wrong}, f"{name} of shape {list(wrong.shape)}")
    for shape in ([examples + 1], [examples, 1], [0]):
        inputs = {**claim.samples, names.K: np.ones(shape, np.int32)}
        _refused(version, names.SERVING_DEFAULT, inputs, f"k of shape {shape}")


def prove_identity(version: LoadedVersion, claim: Claim) -> None:
    """The version says of itself what export.json says of it."""
    answer = version.call(names.EXPORT_INFO, {})
    for name, expected in claim.info.items():
        said = answer[name][0]
        said = said.decode() if isinstance(said, bytes) else said
        if said != expected:
            raise ProofFailedError(f"export_info answers {name} = {said!r} where {expected!r} was exported.")


PROOFS: Mapping[str, Callable[[LoadedVersion, Claim], None]] = {
    "Dense answers equal the Keras model's": prove_dense,
    "Every form of k keeps the k largest": prove_head,
    "Wrong shapes are refused": prove_guards,
    "The version knows who it is": prove_identity,
}


def keep_k_largest(dense: npt.NDArray[np.float32], k: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The head once more, in numpy: what a sparsified answer must be, given the dense one, [B, N]."""
    order = np.argsort(np.where(np.isnan(dense), -np.inf, -dense), axis=1, kind="stable")
    kept = np.arange(dense.shape[1]) < np.reshape(k, (-1, 1))
    sparse = np.zeros_like(dense)
    np.put_along_axis(sparse, order, np.where(kept, np.take_along_axis(dense, order, axis=1), 0), axis=1)
    return sparse


def _as_vector(top: Arrays, labels: int) -> npt.NDArray[np.float32]:
    """The vector [B, N] that a top_k answer lists."""
    indices = top[names.INDICES]
    # One place too many takes what the unused places, at -1, would put somewhere.
    vector = np.zeros((len(indices), labels + 1), np.float32)
    np.put_along_axis(vector, np.where(indices < 0, labels, indices), top[names.SCORES], axis=1)
    return vector[:, :labels]


def _call(version: LoadedVersion, key: str, samples: Arrays, k: Any) -> dict[str, npt.NDArray[Any]]:
    return version.call(key, samples if k is None else {**samples, names.K: np.asarray(k, np.int32)})


def _compare(
    served: npt.NDArray[Any], expected: npt.NDArray[Any], pair: str, rtol: float = 1e-6, atol: float = 1e-7
) -> None:
    if served.shape != expected.shape:
        raise ProofFailedError(f"{pair} have different shapes: {list(served.shape)} and {list(expected.shape)}.")
    wrong = np.argwhere(~np.isclose(served, expected, rtol, atol, equal_nan=True))
    if len(wrong):
        example, entry = wrong[0]
        raise ProofFailedError(
            f"{pair} differ in {len(wrong)} of {served.size} entries, first in sample {example}, entry {entry}: "
            f"{served[example, entry]:.7g} and {expected[example, entry]:.7g}."
        )


def _refused(version: LoadedVersion, key: str, inputs: Arrays, what: str) -> None:
    try:
        version.call(key, inputs)
    except tf.errors.InvalidArgumentError:
        return
    raise ProofFailedError(f"{key} answers a request with {what}, which it should refuse.")
