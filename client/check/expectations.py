"""The answers of another server or version, which a check can compare with if there are no golden records."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from client.check.requests import unlimited
from client.errors import DecodeError
from client.rpc.calls import Answer, metadata_call, predict_call
from client.rpc.metadata import ExportInfo, Metadata, Target
from client.rpc.sequences import CallSequence, info
from client.samples.golden import Expectation, ExpectedIdentity, Sample
from signatures.contract import names
from signatures.contract.answers import Scores


def expectation_of(
    source: str, target: Target, samples: Sequence[Sample], same_export: bool
) -> CallSequence[Expectation]:
    """Ask another server or version for the expected answers.

    `same_export` says whether it should be the same export, or only one with the same labels and preprocessing.
    """
    served: ExportInfo = yield from info(target)
    metadata: Metadata = yield metadata_call(target)
    expected = []
    for sample in samples:
        dense = yield from dense_scores(source, target, metadata, sample.inputs, 1, len(served.labels))
        expected.append(replace(sample, dense=dense[0]))
    identity = ExpectedIdentity(served.labels, preprocessing=served.preprocessing)
    if same_export:
        identity = ExpectedIdentity(**vars(served))
    return Expectation(source, tuple(expected), identity)


def dense_scores(
    source: str, target: Target, metadata: Metadata, inputs: Mapping[str, NDArray[Any]], rows: int, classes: int
) -> CallSequence[Scores]:
    """Ask for all scores of `rows` examples, [rows, classes].

    Raises:
        DecodeError: if the answer is something else; the message names `source`.
    """
    signature = metadata.signature(names.DENSE if names.DENSE in metadata.signatures else names.SERVING_DEFAULT)
    output = names.DENSE_PROBABILITIES if signature.key == names.DENSE else names.PROBABILITIES
    sent = {**inputs, **unlimited(signature.limits, rows, classes)}
    answer: Answer = yield predict_call(target, signature.key, sent, dtypes=signature.rounded)
    dense = answer.outputs.get(output)
    if dense is None or dense.shape != (rows, classes):
        raise DecodeError(f"{source} does not answer with dense scores")
    return dense
