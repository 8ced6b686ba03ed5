"""Proofs for a version whose requests share runs inside the graph: whom a request meets must not change its answer."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from client.judge import judge_dense
from exporter.classifier import Classifier
from exporter.errors import ExportError, ProofFailedError
from exporter.loaded import LoadedVersion
from exporter.proofs import Claim, dense_of, prove_answer
from exporter.samples import Samples
from signatures import Batching, names

# Examples in a request: what is sent at the same time should differ in size, too.
_SIZES = (2, 1)

# Samples that are asked at each length.
_ASKED = 8

# It is chance which requests meet.
_ROUNDS = 3


def samples_that_fit(classifier: Classifier, batching: Batching | None) -> Samples:
    """Return the classifier's samples, made-up ones cut to the longest length that a request may have.

    Raises:
        ExportError: when samples that a user gave are longer.
    """
    samples, specs = classifier.samples, classifier.inputs.specs
    longest = samples.longest(specs)
    if batching is None or not batching.pad_to or longest <= batching.pad_to[-1]:
        return samples
    if samples.made_up:
        return samples.of_length(batching.pad_to[-1], specs)
    raise ExportError(
        f"The samples have a length of {longest}, and --pad-to ends at {batching.pad_to[-1]}: requests as long as the "
        f"samples would be refused. Add {longest} or more to --pad-to, or give shorter samples."
    )


def answers_by_length(
    classifier: Classifier, samples: Samples, batching: Batching | None
) -> dict[int, tuple[Samples, npt.NDArray[np.float32]]]:
    """Ask the Keras model for samples of several lengths, among them those that are padded most.

    Returns:
        By length, the samples cut to it and the model's probabilities for them; nothing where requests do not share
        runs, or every input has one length.
    """
    longest = samples.longest(classifier.inputs.specs)
    if batching is None or not longest:
        return {}
    found = {}
    ends = batching.pad_to or (max(longest // 2, 1), longest)
    for before, padded_to in zip((0, *ends), ends, strict=False):
        lengths = (1 << n for n in range(before.bit_length(), padded_to.bit_length()))
        for length in (before + 1, *lengths, padded_to):
            resized = samples.rows(0, _ASKED).of_length(length, classifier.inputs.specs)
            try:
                found[length] = resized, classifier.dense_answers(resized)
                break
            except ExportError:
                # A convolution, say, that needs more than one word: the next length, then.
                continue
    return found


def prove_padding(version: LoadedVersion, claim: Claim) -> None:
    """Requests that are padded before they share a run are answered as the Keras model answers them unpadded."""
    for length, (samples, dense) in claim.of_length.items():
        for row, (expected, got) in enumerate(zip(dense, dense_of(version, samples), strict=True)):
            if judge_dense(expected, got, claim.dense_tolerance, claim.k).problem:
                raise ProofFailedError(
                    f"Padding changes the model's answers: by {np.abs(expected - got).max():.2g} for sample {row} of "
                    f"length {length}. The model must ignore zeros at the end of its inputs, as layers do behind "
                    "Embedding(mask_zero=True): mask them, or export with --batching none."
                )


def prove_meetings(version: LoadedVersion, claim: Claim) -> None:
    """Requests of different sizes, lengths and k that come at the same time are answered as if each came alone."""
    keys = [key for key in (names.SERVING_DEFAULT, names.TOP_K) if key in version.signatures]
    kinds = [claim.samples, *(samples for samples, _ in claim.of_length.values())]
    batches = [samples.repeated(size) for samples in kinds for size in _SIZES]
    alone = [dense_of(version, samples) for samples in batches]
    ks = np.array([claim.k, 1, len(claim.labels)], np.int32)
    with ThreadPoolExecutor(len(batches) * len(keys)) as pool:
        for _ in range(_ROUNDS):
            waiting = [
                pool.submit(
                    prove_answer,
                    version,
                    claim,
                    key,
                    samples,
                    np.resize(ks, len(samples)),
                    dense,
                    claim.dense_tolerance,
                )
                for samples, dense in zip(batches, alone, strict=True)
                for key in keys
            ]
            for each in waiting:
                each.result()


BATCHING_PROOFS: Mapping[str, Callable[[LoadedVersion, Claim], None]] = {
    "Padding changes no answer": prove_padding,
    "Requests that meet are answered as if alone": prove_meetings,
}
