"""Validations of answers: the dense ones, those of every signature and k, and those to image files."""

import numpy as np

from exporter.errors import ValidationError
from exporter.validation.calls import dense_of, require_right, validate_answer
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.loaded import LoadedVersion
from exporter.validation.pixels import wrong_pixels
from signatures.contract import names
from signatures.contract.judge import judge_dense
from signatures.contract.questions import Question, questions

# Examples in a request, where all samples are asked, and where one question follows another.
MANY, FEW = 4, 2


def validate_dense(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """The dense answers (k = N) are those of the Keras model."""
    served = np.concatenate([dense_of(version, batch) for batch in expected.samples.batches(MANY)])
    for row, (keras_row, served_row) in enumerate(zip(expected.dense, served, strict=True)):
        verdict = judge_dense(keras_row, served_row, expected.dense_tolerance, expected.k)
        require_right(verdict, names.SERVING_DEFAULT, "k = N", row)


def validate_head(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Every signature keeps the k largest of the version's own dense answers, for every form of k and batch size.

    Scalar k are asked of a few examples, as each is another run; k left out and one k an example of more, and of one.
    """
    for examples in (FEW, MANY, 1):
        samples = expected.samples.repeated(examples)
        dense = dense_of(version, samples)
        for key in sorted(set(version.signatures) - {names.EXPORT_INFO} - set(expected.own)):
            asked = samples.asked_of(key)
            own = dense if asked is samples else dense_of(version, asked)
            for question in questions_to(version, expected, key, examples):
                validate_answer(version, expected, key, asked, question, own)


def validate_images(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Image files become the pixels that Pillow finds in them, and are answered as these pixels are."""
    samples = expected.samples.asked_of(names.ENCODED_IMAGES)
    keys = [key for key in names.PICTURE_SIGNATURES if key in version.signatures]
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
    labels = len(expected.labels)
    for batch in samples.batches(MANY):
        dense = Question(str(labels), np.array(labels, np.int32), (labels,) * len(batch))
        validate_answer(version, expected, keys[0], batch, dense, dense_of(version, batch))


def questions_to(version: LoadedVersion, expected: ExpectedBehavior, key: str, examples: int) -> list[Question]:
    """Return the questions that a signature is asked with a request of some examples."""
    takes_k = names.K in version.signatures[key].inputs or key == names.CLASSIFY
    labels, thorough = len(expected.labels), examples == FEW
    return list(questions(takes_k=takes_k, default_k=expected.k, labels=labels, examples=examples, thorough=thorough))
