"""Validations of the signatures that a user passes to `export`."""

import numpy as np

from exporter.errors import ValidationError
from exporter.samples.samples import Samples
from exporter.validation.answers import FEW, MANY, questions_to
from exporter.validation.calls import (
    SAME_RUN,
    answer_form,
    call,
    request_to,
    require_right,
    validate_answer,
    validate_form,
)
from exporter.validation.expected import ExpectedBehavior, Scores
from exporter.validation.loaded import LoadedVersion
from signatures.contract import names
from signatures.contract.answers import encoded
from signatures.contract.judge import judge_dense


def validate_own_signatures(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """A signature of the user's own answers what its forms make of the Keras model, for every k and batch size."""
    for key in sorted(expected.own):
        takes_k = names.K in version.signatures[key].inputs
        for examples in (FEW, MANY, 1):
            samples = expected.samples.repeated(examples)
            dense = expected.own[key](request_to(version, expected, key, samples, None))
            tolerance = expected.dense_tolerance
            if takes_k:
                dense, tolerance = _own_dense(version, expected, key, samples, dense), SAME_RUN
            for question in questions_to(version, expected, key, examples):
                validate_answer(version, expected, key, samples, question, dense, tolerance)


def _own_dense(
    version: LoadedVersion, expected: ExpectedBehavior, key: str, samples: Samples, by_keras: Scores
) -> Scores:
    """Return a signature's answer with k = N, which must be Keras's."""
    labels, asked = len(expected.labels), "k = N"
    outputs = call(version, key, request_to(version, expected, key, samples, np.array(labels, np.int32)), asked)
    form = answer_form(version, key)
    validate_form(form, outputs, len(samples), expected, key, asked, labels)
    dense, problem = form.dense(outputs, encoded(expected.labels))
    if problem:
        raise ValidationError(f"{key} with {asked} is wrong: {problem}.")
    for row, (keras_row, served_row) in enumerate(zip(by_keras, dense, strict=True)):
        require_right(judge_dense(keras_row, served_row, expected.dense_tolerance, expected.k), key, asked, row)
    return dense
