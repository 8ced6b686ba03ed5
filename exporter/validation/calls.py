"""Calls to a loaded version that must succeed, and checks of their answers."""

from typing import Any

import numpy as np

from exporter.errors import ValidationError, reason
from exporter.samples.requests import K, MinScore, own_request, request
from exporter.samples.samples import Samples
from exporter.validation.expected import Arrays, ExpectedBehavior, Scores
from exporter.validation.loaded import LoadedVersion
from server.errors import ServingError
from signatures.contract import names
from signatures.contract.answers import AnswerForm, Outputs, encoded, form_of
from signatures.contract.kept import Verdict
from signatures.contract.questions import Question
from signatures.contract.tolerances import Tolerance

# The head copies scores; two runs of one graph can differ only in the order of a few additions.
SAME_RUN = Tolerance(rtol=1e-5, atol=1e-6)

# A k that keeps every entry.
EVERY = np.iinfo(np.int32).max


def request_to(
    version: LoadedVersion,
    expected: ExpectedBehavior,
    key: str,
    samples: Samples,
    k: K = None,
    min_score: MinScore = None,
) -> dict[str, Any]:
    """Return a request to any signature, including the user's own."""
    if key in expected.own:
        return own_request(version.signatures[key].inputs, samples, k, min_score)
    return request(key, samples, k, min_score)


def call(version: LoadedVersion, key: str, inputs: Arrays, asked: str) -> Outputs:
    """Call a signature with a good request, and require that it succeeds."""
    try:
        return version.call(key, inputs)
    except ServingError as error:
        hint = " Leave out --jit-compile." if "XLA" in error.message else ""
        raise ValidationError(f"{key} with {asked} fails: {reason(error)}.{hint}") from error


def dense_of(version: LoadedVersion, samples: Samples) -> Scores:
    """Return the version's own dense scores, [S, N], from its dense signature if it has one, or else for k = N."""
    if names.DENSE in version.signatures:
        every: Scores = call(version, names.DENSE, request(names.DENSE, samples), "no limits")[
            names.DENSE_PROBABILITIES
        ]
        return every
    inputs = request(names.SERVING_DEFAULT, samples, EVERY, 0.0)
    dense: Scores = call(version, names.SERVING_DEFAULT, inputs, "k = N")[names.PROBABILITIES]
    return dense


def well_formed(
    version: LoadedVersion,
    expected: ExpectedBehavior,
    key: str,
    outputs: Outputs,
    rows: int,
    asked: str,
    k: int,
    *,
    bounded: bool = False,
) -> AnswerForm:
    """Require that an answer has the outputs, types and shapes of its signature's form, and return that form."""
    declared = list(version.signatures[key].outputs)
    form = form_of(declared)
    if form is None:
        raise ValidationError(f"{key} answers {', '.join(declared)}, which is no form of signatures.contract.answers.")
    if problem := form.problem(outputs, rows, len(expected.labels), k, bounded=bounded):
        raise ValidationError(f"{key} with {asked} is wrong: {problem}.")
    return form


def require_right(verdict: Verdict, key: str, asked: str, row: int) -> None:
    """Raise ValidationError if a row is wrong."""
    if verdict.problem:
        raise ValidationError(f"{key} with {asked} is wrong for sample {row}: {verdict.problem}.")


def validate_answer(
    version: LoadedVersion,
    expected: ExpectedBehavior,
    key: str,
    samples: Samples,
    question: Question,
    dense: Scores,
    tolerance: Tolerance = SAME_RUN,
) -> list[Verdict]:
    """Require that a signature's answer is well-formed and keeps the right ones of the dense scores.

    Returns:
        The verdict on each row, which may be a near tie.
    """
    asked, most, bounded = question.asked, max(question.k), question.bounded
    outputs = call(version, key, request_to(version, expected, key, samples, **question.sent), asked)
    form = well_formed(version, expected, key, outputs, len(samples), asked, most, bounded=bounded)
    labels = encoded(expected.labels)
    verdicts = []
    for row, (k, bounds) in enumerate(zip(question.k, question.bounds, strict=True)):
        answer = {name: array[row] for name, array in outputs.items()}
        verdicts.append(form.judge(answer, dense[row], k, bounds, labels, tolerance))
        require_right(verdicts[-1], key, asked, row)
    return verdicts
