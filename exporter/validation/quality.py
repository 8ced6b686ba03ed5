"""How well an exported version classifies labeled samples: the quality gate before it is published.

The samples go through the exported signatures, and images go in as files: this reveals a preprocessing that differs
from the training's, which no comparison of tensors can.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exporter.errors import ValidationError
from exporter.samples.requests import request
from exporter.samples.samples import Samples
from exporter.validation.loaded import LoadedVersion
from signatures.contract import names
from signatures.contract.bounds import bounds_of
from signatures.contract.quality import f1, predicted, tallies
from signatures.contract.questions import ExportedLimits

_BATCH = 4


@dataclass(frozen=True)
class Quality:
    """How well a version classifies with its default limits.

    A kept label is predicted. If nothing bounds its score, the score must be 0.5 or more.

    Attributes:
        samples: how many samples were judged: those whose truth is known.
        exact_match: the share of samples for which exactly the true labels are predicted, 0 to 1.
        f1: micro-averaged F1 over all labels, 0 to 1.
        more_than_k: the share of samples with more true labels than k, for which no answer can be right, 0 to 1.
    """

    samples: int
    exact_match: float
    f1: float
    more_than_k: float


def measure_quality(version: LoadedVersion, samples: Samples, limits: ExportedLimits) -> Quality | None:
    """Judge the version's answers to the samples whose truth is known; return None if there are none."""
    if samples.truth is None:
        return None
    known = np.ones(len(samples), bool) if samples.known is None else samples.known
    truth, samples = samples.truth[known], samples.chosen(np.flatnonzero(known))
    files = samples.images and names.ENCODED_IMAGES in version.signatures
    key = names.ENCODED_IMAGES if files else names.SERVING_DEFAULT
    answers = [version.call(key, request(key, batch))[names.PROBABILITIES] for batch in samples.batches(_BATCH)]
    served = np.concatenate(answers)
    bounds = bounds_of(limits.min_score, limits.thresholds, served.shape[1])
    return _quality(predicted(served, bounds), truth, limits.k)


def require_quality(quality: Quality | None, min_exact_match: float | None, min_f1: float | None) -> None:
    """Compare a version's quality with the required one.

    Raises:
        ValidationError: when it is too low, or there are no labeled samples to measure it.
    """
    for name, least, option in (
        ("exact_match", min_exact_match, "--min-exact-match"),
        ("f1", min_f1, "--min-f1"),
    ):
        if least is None:
            continue
        if quality is None:
            raise ValidationError(f"{option} needs labeled samples, and there are none: pass --samples with labels.")
        if (reached := getattr(quality, name)) < least:
            raise ValidationError(
                f"{name.replace('_', ' ')} on {quality.samples} labeled samples is {reached:.4f}, below {option} "
                f"{least:.4f}."
            )


def _quality(predictions: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], k: int) -> Quality:
    counted = tallies(predictions, truth)
    return Quality(
        samples=len(truth),
        exact_match=float(np.mean(counted.exact)),
        f1=f1(int(counted.hits.sum()), int(counted.marked.sum())),
        more_than_k=float(np.mean(np.sum(truth, axis=1) > k)),
    )
