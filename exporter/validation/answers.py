"""Validations of answers: dense ones, every signature's for all limits, those to image files, and other outputs."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from exporter.errors import ValidationError
from exporter.samples.requests import request
from exporter.samples.samples import Samples
from exporter.validation.calls import (
    SAME_RUN,
    call,
    dense_of,
    request_to,
    require_right,
    validate_answer,
    well_formed,
)
from exporter.validation.expected import Array, ExpectedBehavior, Scores
from exporter.validation.loaded import LoadedVersion
from exporter.validation.pixels import wrong_pixels
from signatures.contract import names
from signatures.contract.answers import encoded
from signatures.contract.bounds import strict_bounds
from signatures.contract.judge import judge_dense
from signatures.contract.kept import Verdict
from signatures.contract.questions import Question, question_of, questions
from signatures.contract.tolerances import Tolerance

# The examples in a request that covers all samples, and in one that repeats for every question.
MANY, FEW = 4, 2


def validate_alone(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that a sample that is sent alone gets the same answer as beside others.

    Callers and servers decide how examples are batched, so a model that computes across them has no right answer.
    """
    samples = _sent_alone(expected.samples)
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


def _sent_alone(samples: Samples) -> Samples:
    """Return the samples to send alone: a few, or all where a layer may pad to the longest of them."""
    texts = any(array.dtype == object for array in samples.inputs.values())
    return samples if texts else samples.rows(0, FEW)


def validate_dense(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that the dense answers (k = N) are those of the Keras model."""
    served = np.concatenate([dense_of(version, batch) for batch in expected.samples.batches(MANY)])
    for row, (keras_row, served_row) in enumerate(zip(expected.dense, served, strict=True)):
        verdict = judge_dense(keras_row, served_row, expected.dense_tolerance, expected.k)
        require_right(verdict, names.SERVING_DEFAULT, "k = N", row)


def validate_head(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that every signature keeps the right ones of the dense scores, for all limits and batch sizes.

    The limits are k and min_score. Requests with every form of them hold few examples, because each is another run.
    Requests without limits, or with one for each example, are also sent with more examples and with only one.
    """
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for examples in (FEW, MANY, 1):
        samples = expected.samples.repeated(examples)
        dense = dense_of(version, samples)
        for key in sorted(set(version.signatures) - {names.EXPORT_INFO} - set(expected.own)):
            asked = samples.asked_of(key)
            own = dense if asked is samples else dense_of(version, asked)
            for question in _questions_to(version, expected, key, own):
                verdicts[key] += validate_answer(version, expected, key, asked, question, own)
    for key, each in verdicts.items():
        if problem := strict_bounds(each):
            raise ValidationError(f"{key} is wrong: {problem}.")


def validate_images(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that image files decode to the pixels that Pillow reads, and get the same answers as these pixels."""
    samples = expected.samples.asked_of(names.ENCODED_IMAGES)
    keys = [key for key in names.IMAGE_SIGNATURES if key in version.signatures]
    if not samples.images or not keys:
        return
    preprocessing = expected.info[names.PREPROCESSING]
    (images,) = samples.inputs.values()
    for row, (file, pixels) in enumerate(zip(samples.images, images, strict=True)):
        if problem := wrong_pixels(file, pixels, preprocessing):
            raise ValidationError(
                f"The pixels that the graph makes of the image of sample {row}, with the preprocessing "
                f"{preprocessing!r}, {problem}."
            )
    for batch in samples.batches(MANY):
        shape = (len(batch), len(expected.labels))
        every = question_of(shape[1], 0.0, takes=names.LIMITS, exported=expected.exported, shape=shape)
        validate_answer(version, expected, keys[0], batch, every, dense_of(version, batch))


def validate_own_signatures(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that a user's signature answers as its forms do on the Keras model, for all limits and sizes."""
    for key in sorted(expected.own):
        takes_k = names.K in version.signatures[key].inputs
        for examples in (FEW, MANY, 1):
            samples = expected.samples.repeated(examples)
            dense = expected.own[key](request_to(version, expected, key, samples))
            tolerance = expected.dense_tolerance
            # No request shows the scores below a label's threshold.
            if takes_k and not expected.exported.thresholds:
                dense, tolerance = _own_dense(version, expected, key, samples, dense), SAME_RUN
            for question in _questions_to(version, expected, key, dense):
                validate_answer(version, expected, key, samples, question, dense, tolerance)


def validate_also_outputs(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that the other outputs of the model in every signature's answers are those that Keras computes."""
    for key, signature in sorted(version.signatures.items()):
        for name in sorted(set(expected.also) & set(signature.outputs)):
            keras_answer = expected.also[name]
            samples = expected.samples.rows(0, len(keras_answer))
            # These outputs are known for the samples, not for stand-ins or what a user's form makes of samples.
            if key in expected.own or samples.asked_of(key) is not samples:
                continue
            served = call(version, key, request(key, samples), "k left out")[name]
            if problem := _difference(keras_answer, served, expected.dense_tolerance):
                raise ValidationError(f"{key} answers {name} wrongly: {problem}.")


def _own_dense(
    version: LoadedVersion, expected: ExpectedBehavior, key: str, samples: Samples, by_keras: Scores
) -> Scores:
    """Return a signature's answer with k = N, which must be that of the Keras model."""
    labels, asked = len(expected.labels), "k = N"
    outputs = call(version, key, request_to(version, expected, key, samples, labels, 0.0), asked)
    form = well_formed(version, expected, key, outputs, len(samples), asked, labels)
    dense, problem = form.dense(outputs, encoded(expected.labels))
    if problem:
        raise ValidationError(f"{key} with {asked} is wrong: {problem}.")
    for row, (keras_row, served_row) in enumerate(zip(by_keras, dense, strict=True)):
        require_right(judge_dense(keras_row, served_row, expected.dense_tolerance, expected.k), key, asked, row)
    return dense


def _questions_to(version: LoadedVersion, expected: ExpectedBehavior, key: str, dense: Scores) -> list[Question]:
    """Return the questions to ask a signature in requests with these dense scores."""
    takes = names.LIMITS if key == names.CLASSIFY else set(names.LIMITS) & set(version.signatures[key].inputs)
    return list(questions(takes=takes, exported=expected.exported, dense=dense, thorough=len(dense) == FEW))


def _difference(expected: Array, served: Array, tolerance: Tolerance) -> str:
    """Return how an answer differs from what was expected, or "" if it does not.

    Floats may differ by the tolerance, whose absolute part is meant for scores and so grows with the largest value.
    """
    if (expected.shape, expected.dtype) != (served.shape, served.dtype):
        return f"it is {served.dtype} {list(served.shape)}, expected {expected.dtype} {list(expected.shape)}"
    if not np.issubdtype(expected.dtype, np.number) or np.issubdtype(expected.dtype, np.integer):
        wrong = np.argwhere(expected != served)
    else:
        largest = np.abs(expected, dtype=np.float64).max(initial=1.0, where=np.isfinite(expected))
        scaled = replace(tolerance, atol=tolerance.atol * float(largest))
        close = np.isclose(
            served.astype(np.float64), expected.astype(np.float64), scaled.rtol, scaled.atol, equal_nan=True
        )
        wrong = np.argwhere(~close)
    if not len(wrong):
        return ""
    place = tuple(wrong[0])
    return f"for sample {place[0]} it has {served[place]} where the Keras model has {expected[place]}"
