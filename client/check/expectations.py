"""The answers of another server or version, which a check can compare with if there are no golden records."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from client.errors import DecodeError
from client.rpc.calls import Answer, metadata_call, predict_call
from client.rpc.metadata import ExportInfo, Metadata, Target
from client.rpc.sequences import CallSequence, info
from client.samples.golden import Expectation, ExpectedIdentity, Sample
from signatures.contract import names


def expectation_of(
    source: str, target: Target, samples: Sequence[Sample], same_export: bool
) -> CallSequence[Expectation]:
    """Ask another server or version for the expected answers.

    `same_export` tells whether it should be the same export, or only one with the same labels and preprocessing.
    """
    served: ExportInfo = yield from info(target)
    metadata: Metadata = yield metadata_call(target)
    signature = metadata.signature(names.DENSE if names.DENSE in metadata.signatures else names.SERVING_DEFAULT)
    output = names.DENSE_PROBABILITIES if signature.key == names.DENSE else names.PROBABILITIES
    every = {names.K: np.array([len(served.labels)], np.int32), names.MIN_SCORE: np.zeros(1, np.float32)}
    limits = {name: value for name, value in every.items() if name in signature.limits}
    expected = []
    for sample in samples:
        inputs = {**sample.inputs, **limits}
        answer: Answer = yield predict_call(target, signature.key, inputs, dtypes=signature.rounded)
        dense = answer.outputs.get(output)
        if dense is None or dense.shape != (1, len(served.labels)):
            raise DecodeError(f"{source} does not answer with dense scores")
        expected.append(replace(sample, dense=dense[0]))
    export = ExpectedIdentity(served.labels, preprocessing=served.preprocessing)
    if same_export:
        export = replace(
            export,
            export_id=served.export_id,
            model=served.model,
            k=served.k,
            min_score=served.min_score,
            thresholds=served.thresholds,
            golden_digest=served.golden_digest,
        )
    return Expectation(source, tuple(expected), export)
