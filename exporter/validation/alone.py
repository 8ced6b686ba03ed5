"""Validation that a request's other examples do not change the answer to one."""

from exporter.errors import ValidationError
from exporter.samples.samples import Samples
from exporter.validation.answers import FEW, MANY
from exporter.validation.calls import dense_of
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.loaded import LoadedVersion
from signatures.contract.judge import judge_dense


def validate_alone(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """A sample that is sent alone gets the answer that it gets beside others.

    Callers and servers decide how examples are put together, so a model that computes across them has no right answer.
    """
    samples = _asked(expected.samples)
    for start, batch in enumerate(samples.batches(MANY)):
        for row, together in enumerate(dense_of(version, batch)):
            (alone,) = dense_of(version, batch.rows(row, row + 1))
            verdict = judge_dense(together, alone, expected.dense_tolerance, expected.k)
            if verdict.problem:
                raise ValidationError(
                    f"The model answers sample {start * MANY + row} differently when it is sent alone: "
                    f"{verdict.problem}. An answer must not depend on the other examples of a request. Where a layer "
                    "pads texts to the longest of the batch, give it a fixed length (output_sequence_length), or mask "
                    "the padding."
                )


def _asked(samples: Samples) -> Samples:
    """Return the samples to send alone: a few, or all where a layer may pad to the longest of them."""
    texts = any(array.dtype == object for array in samples.inputs.values())
    return samples if texts else samples.rows(0, FEW)
