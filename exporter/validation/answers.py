"""Proofs that a staged version answers as the Keras model does: its final bytes, loaded the way a server loads them."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.errors import ProofFailedError, reason
from exporter.samples.requests import K, request
from exporter.samples.samples import Samples
from exporter.validation.loaded import LoadedVersion
from exporter.validation.pixels import wrong_pixels
from exporter.writing.prediction_logs import read_requests
from signatures import Signature
from signatures.contract import names
from signatures.contract.judge import Tolerance, Verdict, judge_dense, judge_listed, judge_sparse

# The head copies scores; between two runs of one graph only the order of a few additions can differ.
SAME_RUN = Tolerance(rtol=1e-5, atol=1e-6)

# Examples in a request, where all samples are asked, and where one question follows another.
_MANY, _FEW = 4, 2

# What calls back into the Python process that made it, and so fails in every other.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


@dataclass(frozen=True)
class Claim:
    """What a version must answer.

    Attributes:
        samples: what it is asked.
        dense: Keras's probabilities for them, [S, N].
        dense_tolerance: how near to these its own must come.
        k: the default k.
        labels: the N labels.
        info: what `export_info` must say, by output name.
        signatures: what its metadata must declare.
        weights: the bytes that the model's variables take.
        of_length: where requests are padded before they share a run, the samples cut to several lengths, each with
            Keras's probabilities for them.
    """

    samples: Samples
    dense: npt.NDArray[np.float32]
    dense_tolerance: Tolerance
    k: int
    labels: Sequence[str]
    info: Mapping[str, Any]
    signatures: Sequence[Signature]
    weights: int
    of_length: Mapping[int, tuple[Samples, npt.NDArray[np.float32]]] = field(default_factory=dict)


def prove_dense(version: LoadedVersion, claim: Claim) -> None:
    """The dense answers (k = N) are those of the Keras model."""
    served = np.concatenate([dense_of(version, batch) for batch in claim.samples.batches(_MANY)])
    for row, (expected, got) in enumerate(zip(claim.dense, served, strict=True)):
        _hold(judge_dense(expected, got, claim.dense_tolerance, claim.k), names.SERVING_DEFAULT, "k = N", row)


def prove_head(version: LoadedVersion, claim: Claim) -> None:
    """Every signature keeps the k largest of the version's own dense answers, for every form of k and batch size.

    Scalar k are asked of a few examples, as each is another run; k left out and one k an example of more, and of one.
    """
    batches = [claim.samples.repeated(examples) for examples in (_FEW, _MANY, 1)]
    dense = [dense_of(version, samples) for samples in batches]

    for key in sorted(set(version.signatures) - {names.EXPORT_INFO}):
        for samples, scores in zip(batches, dense, strict=True):
            asked = samples.asked_of(key)
            own = scores if asked is samples else dense_of(version, asked)
            for k in _forms_of_k(key, len(samples), claim):
                prove_answer(version, claim, key, asked, k, own)


def prove_pictures(version: LoadedVersion, claim: Claim) -> None:
    """Picture files become the pixels that Pillow finds in them, and are answered as these pixels are."""
    samples = claim.samples.asked_of(names.ENCODED_IMAGES)
    keys = [key for key in names.PICTURE_SIGNATURES if key in version.signatures]
    if not samples.pictures or not keys:
        return
    (images,) = samples.inputs.values()
    for row, (file, pixels) in enumerate(zip(samples.pictures, images, strict=True)):
        if problem := wrong_pixels(file, pixels, claim.info[names.PREPROCESSING]):
            raise ProofFailedError(
                f"The pixels that the graph makes of the picture of sample {row}, with the preprocessing "
                f"{claim.info[names.PREPROCESSING]!r}, {problem}."
            )
    for batch in samples.batches(_MANY):
        prove_answer(version, claim, keys[0], batch, len(claim.labels), dense_of(version, batch))


def prove_guards(version: LoadedVersion, claim: Claim) -> None:
    """What does not fit is refused: a wrong shape of any input, k included, and bytes that are no picture."""
    samples = claim.samples.repeated(_FEW)
    examples = len(samples)
    for key, signature in version.signatures.items():
        if key == names.EXPORT_INFO:
            continue
        good = request(key, samples, claim.k)
        for name in signature.inputs:
            if name == names.K:
                for shape in ([examples + 1], [examples, 1], [0]):
                    _prove_refused(version, key, {**good, name: np.ones(shape, np.int32)}, f"{name} of shape {shape}")
            else:
                wrong = np.stack([good[name], good[name]], axis=-1)
                _prove_refused(version, key, {**good, name: wrong}, f"{name} of shape {list(wrong.shape)}")
            if key in names.PICTURE_SIGNATURES and good[name].dtype == object:
                broken = np.full(examples, b"neither a picture nor an example", object)
                _prove_refused(version, key, {**good, name: broken}, f"{name} that holds something else")


def prove_identity(version: LoadedVersion, claim: Claim) -> None:
    """The version says of itself what export.json says of it, and its metadata declares what was exported."""
    answer = version.call(names.EXPORT_INFO, {})
    for name, expected in claim.info.items():
        said = answer[name][0]
        if isinstance(said, bytes):
            text = said.decode()
            said = json.loads(text) if name in (names.LABELS, names.PREPROCESSING) else text
        if said != expected:
            raise ProofFailedError(f"export_info answers {name} = {said!r} where {expected!r} was exported.")
    for signature in claim.signatures:
        served = version.signatures[signature.key]
        for infos, specs in ((served.inputs, signature.inputs), (served.outputs, signature.outputs)):
            for name, spec in specs.items():
                shape, dtype = tf.TensorShape(infos[name].tensor_shape), tf.as_dtype(infos[name].dtype)
                if (repr(shape), dtype) != (repr(spec.shape), spec.dtype):
                    raise ProofFailedError(
                        f"The metadata of {signature.key} declares {name} as {dtype.name} {shape} where "
                        f"{spec.dtype.name} {spec.shape} was exported."
                    )


def prove_portable(version: LoadedVersion, claim: Claim) -> None:
    """Every op is one of TensorFlow's own, none is bound to this Python process, and weights are stored once."""
    graph = version.meta_graph.graph_def
    functions = [graph, *graph.library.function]
    ops = {node.op for function in functions for node in getattr(function, "node", getattr(function, "node_def", ()))}
    ops -= {function.signature.name for function in graph.library.function}
    if bound := sorted(ops & _PYTHON_OPS):
        raise ProofFailedError(f"The model calls Python code through {bound[0]}, which no server can run.")
    if foreign := sorted(op for op in ops if not hasattr(tf.raw_ops, op)):
        raise ProofFailedError(f"The model uses the op {foreign[0]}, which is not TensorFlow's own: no server has it.")
    stored = tf.train.load_checkpoint(str(version.directory / "variables" / "variables"))
    dtypes = stored.get_variable_to_dtype_map()
    size = sum(
        int(np.prod(shape)) * dtypes[name].size
        for name, shape in stored.get_variable_to_shape_map().items()
        if dtypes[name] != tf.string
    )
    if size > claim.weights:
        raise ProofFailedError(f"The variables take {size} bytes where the model's have {claim.weights}.")


def prove_warmup(version: LoadedVersion, claim: Claim) -> None:
    """Every warm-up request succeeds, and would under the rules of the server's own batching."""
    for number, (key, inputs) in enumerate(read_requests(version.directory / names.ASSETS_EXTRA / names.WARMUP_FILE)):
        lengths = {array.shape[:1] for array in inputs.values()}
        if len(lengths) != 1 or not all(lengths):
            raise ProofFailedError(f"Warm-up request {number} to {key} has inputs of different lengths: {lengths}.")
        try:
            version.call(key, inputs)
        except tf.errors.OpError as error:
            raise ProofFailedError(f"Warm-up request {number} to {key} fails: {reason(error)}.") from error


PROOFS: Mapping[str, Callable[[LoadedVersion, Claim], None]] = {
    "Ops are TensorFlow's own, weights stored once": prove_portable,
    "Dense answers equal the Keras model's": prove_dense,
    "Pictures are decoded as Pillow does": prove_pictures,
    "Every signature and form of k keeps the k largest": prove_head,
    "What does not fit is refused": prove_guards,
    "The version says who it is": prove_identity,
    "Every warm-up request succeeds": prove_warmup,
}


def dense_of(version: LoadedVersion, samples: Samples) -> npt.NDArray[np.float32]:
    """The dense answers of the version; N is the most that k can be."""
    every = np.iinfo(np.int32).max
    return _call(version, names.SERVING_DEFAULT, request(names.SERVING_DEFAULT, samples, every), "k = N")[
        names.PROBABILITIES
    ]


def _call(
    version: LoadedVersion, key: str, inputs: Mapping[str, npt.NDArray[Any]], asked: str
) -> dict[str, npt.NDArray[Any]]:
    """Call a signature with a good request, which must not fail."""
    try:
        return version.call(key, inputs)
    except tf.errors.OpError as error:
        hint = " Leave out --jit-compile." if "XLA" in error.message else ""
        raise ProofFailedError(f"{key} with {asked} fails: {reason(error)}.{hint}") from error


def _forms_of_k(key: str, examples: int, claim: Claim) -> Iterator[K]:
    yield None
    if key == names.FIXED_K:
        return
    n = len(claim.labels)
    # What lies outside 0 to N is clamped.
    yield np.resize(np.array([n + 1, -1, claim.k, 1], np.int32), examples)
    if examples == _FEW:
        yield from sorted({0, 1, claim.k, n})


def prove_answer(
    version: LoadedVersion,
    claim: Claim,
    key: str,
    samples: Samples,
    k: K,
    dense: npt.NDArray[np.float32],
    tolerance: Tolerance = SAME_RUN,
) -> None:
    """A signature's answer has the right shape, and keeps the k largest of the dense scores."""
    asked = "k left out" if k is None else f"k = {k}"
    meant = np.broadcast_to(np.clip(claim.k if k is None else k, 0, len(claim.labels)), len(samples))
    answer = _call(version, key, request(key, samples, k), asked)
    for name, array in answer.items():
        width = dense.shape[1] if name == names.PROBABILITIES else meant.max()
        if array.shape != (len(samples), width):
            raise ProofFailedError(
                f"{key} with {asked} answers {name} of shape {list(array.shape)}, not {[len(samples), width]}."
            )
    for row in range(len(samples)):
        outputs = {name: array[row] for name, array in answer.items()}
        _hold(_judge(outputs, dense[row], meant[row], claim.labels, tolerance), key, asked, row)


def _judge(
    answer: Mapping[str, Any], dense: npt.NDArray[np.float32], k: int, names_of_all: Sequence[str], tolerance: Tolerance
) -> Verdict:
    """Judge a row of any output form."""
    if names.PROBABILITIES in answer:
        return judge_sparse(dense, answer[names.PROBABILITIES], k, tolerance)
    listed = answer[names.LABELS] if names.LABELS in answer else answer[names.CLASSES]
    scores = answer[names.SCORES]
    labels = np.array([label.encode() for label in names_of_all], object)
    indices = answer[names.INDICES] if names.INDICES in answer else _indices_of(listed, scores, dense, labels)
    return judge_listed(dense, indices, scores, listed, labels, k, tolerance)


def _indices_of(
    listed: npt.NDArray[Any], scores: npt.NDArray[np.float32], dense: npt.NDArray[np.float32], labels: npt.NDArray[Any]
) -> npt.NDArray[np.int32]:
    """The index that each listed label stands for: where labels repeat, the one of the score nearest to its own."""
    free: dict[bytes, list[int]] = {}
    for index, label in enumerate(labels):
        free.setdefault(label, []).append(index)
    indices = np.full(len(listed), names.NO_INDEX, np.int32)
    for place, (label, score) in enumerate(zip(listed, scores, strict=True)):
        if candidates := free.get(label):
            indices[place] = min(candidates, key=lambda index: abs(float(dense[index]) - float(score)))
            candidates.remove(indices[place])
    return indices


def _hold(verdict: Verdict, key: str, asked: str, row: int) -> None:
    if verdict.problem:
        raise ProofFailedError(f"{key} with {asked} is wrong for sample {row}: {verdict.problem}.")


def _prove_refused(version: LoadedVersion, key: str, inputs: Mapping[str, npt.NDArray[Any]], what: str) -> None:
    try:
        version.call(key, inputs)
    except tf.errors.InvalidArgumentError:
        return
    raise ProofFailedError(f"{key} answers a request with {what}, which it should refuse.")
