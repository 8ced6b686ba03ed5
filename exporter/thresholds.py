"""The lowest score that an answer keeps for each label: given by a user, or fitted on labeled samples."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from exporter.errors import ExportError
from exporter.samples.samples import Samples
from exporter.samples.truth import first_of
from signatures.contract.bounds import shortest
from signatures.contract.questions import ExportedLimits

# A threshold for all labels, or one for each of some labels.
Thresholds: TypeAlias = Mapping[str, float] | float

# With fewer positives or negatives than this, a threshold is a guess.
LEAST = 10


@dataclass(frozen=True)
class LabelFit:
    """The threshold of one label, and its evidence.

    Attributes:
        label: the label.
        positives: how many samples have the label.
        threshold: the lowest score to keep, or None if there is none.
        precision: the share of positives among the samples with that score or more, 0 to 1.
        recall: the share of the positives with that score or more, 0 to 1.
        reason: why there is no threshold, or "".
    """

    label: str
    positives: int
    threshold: float | None = None
    precision: float | None = None
    recall: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class ThresholdFit:
    """Fitted thresholds.

    Attributes:
        rule: "f1", "precision=0.9" or "recall=0.9".
        samples: how many samples they were fitted on: those whose true labels are known.
        labels: the fit of each label, by index.
    """

    rule: str
    samples: int
    labels: Sequence[LabelFit]

    @property
    def thresholds(self) -> tuple[float, ...]:
        """The thresholds by index, 0 for a label without one; empty if no label has one."""
        return _none_if_zero(fit.threshold or 0.0 for fit in self.labels)

    @property
    def warnings(self) -> list[str]:
        """What the user should know, one sentence each."""
        without = [f"{fit.label} ({fit.reason})" for fit in self.labels if fit.threshold is None]
        found = ["The thresholds were fitted on these samples: the quality measured on them is better than on others."]
        return found + ([f"These labels have no threshold: {', '.join(without)}."] if without else [])


def rule_of(rule: str) -> tuple[str, float]:
    """Return the name of a rule and its target, which is 0 for f1.

    Raises:
        ExportError: if there is no such rule.

    Example:
        >>> rule_of("precision=0.9")
        ('precision', 0.9)
    """
    name, _, target = rule.partition("=")
    if rule == "f1":
        return "f1", 0.0
    try:
        if name in ("precision", "recall") and 0 < float(target) <= 1:
            return name, float(target)
    except ValueError:
        pass
    raise ExportError(
        f"--fit-thresholds is {rule!r}; use f1, precision=P or recall=R with a number above 0 and up to 1, as in "
        "precision=0.9."
    )


def check_limits(min_score: float, thresholds: Thresholds | None, fit_thresholds: str | None) -> None:
    """Refuse limits that no export can have.

    Raises:
        ExportError: if a number is not from 0 to 1, if a rule is unknown, or if thresholds are both given and fitted.
    """
    if not 0 <= min_score <= 1:
        raise ExportError(f"min_score is {min_score}; use a number from 0 to 1.")
    if thresholds is not None and fit_thresholds is not None:
        raise ExportError("Thresholds are either given or fitted: pass --thresholds or --fit-thresholds, not both.")
    if fit_thresholds is not None:
        rule_of(fit_thresholds)
    for label, value in (thresholds if isinstance(thresholds, Mapping) else {"all labels": thresholds or 0.0}).items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise ExportError(f"The threshold of {label} is {value!r}; use a number from 0 to 1.")


def read_thresholds(path: Path) -> Thresholds:
    """Read thresholds from a JSON file: an object with a number for each label that has one, or one number for all.

    Raises:
        ExportError: if the file cannot be read or holds something else.
    """
    try:
        stated = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ExportError(f"The thresholds in {path} could not be read: {error}.") from error
    if isinstance(stated, bool) or not isinstance(stated, dict | int | float):
        raise ExportError(f'{path} holds no thresholds; write {{"cat": 0.5}}, with a number by label, or one number.')
    check_limits(0.0, stated, None)
    return stated


def by_label(thresholds: Thresholds | None, labels: Sequence[str]) -> tuple[float, ...]:
    """Return the thresholds by index, 0 for a label without one; empty if no label has one.

    Raises:
        ExportError: for a label that the model does not have.

    Example:
        >>> by_label({"dog": 0.5}, ["cat", "dog"])
        (0.0, 0.5)
    """
    if thresholds is None:
        return ()
    if not isinstance(thresholds, Mapping):
        return _none_if_zero([thresholds] * len(labels))
    if unknown := sorted(set(thresholds) - set(labels)):
        raise ExportError(f"A threshold is given for the label {unknown[0]!r}, and the model has {first_of(labels)}.")
    return _none_if_zero(thresholds.get(label, 0.0) for label in labels)


def fit_thresholds(rule: str, labels: Sequence[str], samples: Samples, dense: npt.NDArray[np.float32]) -> ThresholdFit:
    """Fit a threshold for each label on labeled samples, with scikit-learn's precision-recall curves.

    A threshold lies halfway between the score where the curve meets the rule and the next lower one, so that rounding
    changes nothing.

    Args:
        rule: "f1" for the best F1, "precision=P" for the lowest threshold that reaches a precision, "recall=R" for the
            highest that reaches a recall.
        labels: the N labels.
        samples: S samples.
        dense: the model's scores for them, [S, N].

    Returns:
        The fit, in which labels with too few positives or negatives have no threshold.

    Raises:
        ExportError: if the samples are not labeled, or if scikit-learn is not installed.
    """
    labeled = require_labeled(samples)
    from sklearn.metrics import precision_recall_curve

    known = np.ones(len(samples), bool) if samples.known is None else samples.known
    truth, scores = labeled[known], dense[known]
    fits = [
        _fit_label(label, truth[:, index], scores[:, index], rule_of(rule), precision_recall_curve)
        for index, label in enumerate(labels)
    ]
    return ThresholdFit(rule, len(truth), fits)


def require_labeled(samples: Samples) -> npt.NDArray[np.bool_]:
    """Return the truth of samples to fit thresholds on.

    Raises:
        ExportError: if the samples are not labeled, or if scikit-learn is not installed.
    """
    if samples.truth is None:
        raise ExportError("--fit-thresholds needs labeled samples, and there are none: pass --samples with labels.")
    if not importlib.util.find_spec("sklearn"):
        raise ExportError("--fit-thresholds needs scikit-learn: pip install scikit-learn.")
    return samples.truth


def exported_limits(
    k: int,
    min_score: float,
    thresholds: Thresholds | None,
    fit: ThresholdFit | None,
    labels: Sequence[str],
) -> ExportedLimits:
    """Return the limits of every answer of the export."""
    chosen = by_label(thresholds, labels) if fit is None else fit.thresholds
    return ExportedLimits(k=k, min_score=shortest(min_score), thresholds=chosen)


def _fit_label(
    label: str, truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], rule: tuple[str, float], curve: Any
) -> LabelFit:
    positives = int(truth.sum())
    negatives = len(truth) - positives
    if min(positives, negatives) < LEAST:
        few = f"{positives} positives" if positives < LEAST else f"{negatives} negatives"
        return LabelFit(label, positives, reason=f"{few}, fewer than {LEAST}")
    precision, recall, found = curve(truth, scores)
    # The curve's last point has no threshold.
    precision, recall = precision[:-1], recall[:-1]
    name, target = rule
    if name == "f1":
        sums = precision + recall
        place = int(np.argmax(np.divide(2 * precision * recall, sums, out=np.zeros_like(sums), where=sums > 0)))
    else:
        reached = np.flatnonzero((precision if name == "precision" else recall) >= target)
        if not len(reached):
            return LabelFit(label, positives, reason=f"no score reaches a {name} of {target:g}")
        place = int(reached[0] if name == "precision" else reached[-1])
    below = found[place - 1] if place else np.float32(0)
    halfway = np.float32((float(below) + float(found[place])) / 2)
    threshold = halfway if halfway > below else found[place]
    return LabelFit(label, positives, shortest(float(threshold)), float(precision[place]), float(recall[place]))


def _none_if_zero(thresholds: Any) -> tuple[float, ...]:
    each = tuple(shortest(threshold) for threshold in thresholds)
    return each if any(each) else ()
