"""Calls to a loaded version that must succeed, and what is right about their answers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from exporter.errors import ValidationError, reason
from exporter.samples.requests import K, own_request, request
from exporter.samples.samples import Samples
from exporter.validation.expected import Arrays, ExpectedBehavior, Scores
from exporter.validation.loaded import LoadedVersion
from server.errors import ServingError
from signatures.contract import names
from signatures.contract.answers import AnswerForm, Labels, Outputs, encoded, form_of
from signatures.contract.judge import Verdict
from signatures.contract.questions import Question
from signatures.contract.tolerances import Tolerance

# The head copies scores; between two runs of one graph only the order of a few additions can differ.
SAME_RUN = Tolerance(rtol=1e-5, atol=1e-6)


def request_to(version: LoadedVersion, expected: ExpectedBehavior, key: str, samples: Samples, k: K) -> dict[str, Any]:
    """Return a request to any signature, one of the user's own too."""
    if key in expected.own:
        return own_request(version.signatures[key].inputs, samples, k)
    return request(key, samples, k)


def call(version: LoadedVersion, key: str, inputs: Arrays, asked: str) -> Outputs:
    """Call a signature with a good request, which must not fail."""
    try:
        return version.call(key, inputs)
    except ServingError as error:
        hint = " Leave out --jit-compile." if "XLA" in error.message else ""
        raise ValidationError(f"{key} with {asked} fails: {reason(error)}.{hint}") from error


def dense_of(version: LoadedVersion, samples: Samples) -> Scores:
    """Return the version's own dense answers, [S, N]; N is the most that k can be."""
    every = np.iinfo(np.int32).max
    inputs = request(names.SERVING_DEFAULT, samples, every)
    dense: Scores = call(version, names.SERVING_DEFAULT, inputs, "k = N")[names.PROBABILITIES]
    return dense


def answer_form(version: LoadedVersion, key: str) -> AnswerForm:
    """Return the form that a signature answers in."""
    outputs = list(version.signatures[key].outputs)
    form = form_of(outputs)
    if form is None:
        raise ValidationError(f"{key} answers {', '.join(outputs)}, a form that is not in signatures.contract.answers.")
    return form


def require_right(verdict: Verdict, key: str, asked: str, row: int) -> None:
    """Raise ValidationError for a row that is wrong."""
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
) -> None:
    """A signature's answer to a question is well-formed, and keeps the k largest of the dense scores."""
    asked = "k left out" if question.sent is None else f"k = {question.name}"
    outputs = call(version, key, request_to(version, expected, key, samples, question.sent), asked)
    form = answer_form(version, key)
    validate_form(form, outputs, len(samples), expected, key, asked, max(question.meant))
    labels = encoded(expected.labels)
    for row, k in enumerate(question.meant):
        require_right(form.judge(row_of(outputs, row), dense[row], k, labels, tolerance), key, asked, row)


def validate_form(
    form: AnswerForm, outputs: Outputs, rows: int, expected: ExpectedBehavior, key: str, asked: str, k: int
) -> None:
    """An answer has the outputs, types and shapes of its form."""
    if problem := form.problem(outputs, rows, len(expected.labels), k):
        raise ValidationError(f"{key} with {asked} is wrong: {problem}.")


def row_of(outputs: Mapping[str, Labels], row: int) -> Outputs:
    """Return the outputs of one example."""
    return {name: array[row] for name, array in outputs.items()}
