"""Wrong lists of the k largest, and wrong answers to image files and tf.Examples."""

import numpy as np

from signatures.contract import names

from .table import BACKBONE, HEAD, add, fault, listed_as


def changed(**changes):
    """Change some of top_k's outputs, given as functions of the right array."""
    return listed_as(
        lambda right, dense, k: {
            key: changes[key](array) if key in changes else array for key, array in right(dense, k).items()
        }
    )


def swapped_places(array):
    return array[:, ::-1] if array.shape[1] == 2 else array


for name, apply in {
    "top_k worst first": listed_as(
        lambda right, dense, k: {
            key: np.stack(
                [np.r_[row[:count][::-1], row[count:]] for row, count in zip(array, np.clip(k, 0, 8), strict=True)]
            )
            for key, array in right(dense, k).items()
        }
    ),
    "two places swapped": changed(indices=swapped_places, scores=swapped_places, labels=swapped_places),
    "indices from one": changed(indices=lambda array: array + (array >= 0)),
    "indices of another row": changed(indices=lambda array: array[::-1]),
    "scores of another row": changed(scores=lambda array: array[::-1]),
    "labels of another row": changed(labels=lambda array: array[::-1]),
    "labels left empty": changed(labels=lambda array: np.full(array.shape, b"", object)),
    "labels that are no text": changed(labels=lambda array: np.full(array.shape, b"\xff\xfe", object)),
    "int64 indices": changed(indices=lambda array: array.astype(np.int64)),
    "float16 scores in top_k": changed(scores=lambda array: array.astype(np.float16).astype(np.float32)),
    "scores in top_k a ten-thousandth off": changed(scores=lambda array: array * np.float32(1.0001)),
    "padding with index 0": changed(indices=lambda array: np.maximum(array, 0)),
    "padding with a score": changed(scores=lambda array: np.where(array == 0, np.float32(1e-9), array)),
    "padding with a label": changed(labels=lambda array: np.where(array == b"", b"a", array)),
    "padding that is no number": changed(scores=lambda array: np.where(array == 0, np.float32(np.nan), array)),
    "one index twice": changed(indices=lambda array: np.where(array >= 0, array[:, :1], array)),
    "an index past the end": changed(indices=lambda array: np.where(array == 7, 8, array)),
    "top_k always as wide as N": listed_as(
        lambda right, dense, k: {
            key: np.stack([np.r_[row, filler[row.size :]] for row in array])
            for (key, array), filler in zip(
                right(dense, k).items(),
                (np.full(8, -1, np.int32), np.zeros(8, np.float32), np.full(8, b"", object)),
                strict=True,
            )
        }
    ),
    "top_k one column short": listed_as(
        lambda right, dense, k: {key: array[:, :-1] for key, array in right(dense, k).items()}
    ),
    "top_k keeps k + 1": listed_as(lambda right, dense, k: right(dense, k + 1)),
    "top_k keeps k - 1": listed_as(lambda right, dense, k: right(dense, k - 1)),
    "top_k without scores": listed_as(
        lambda right, dense, k: {key: array for key, array in right(dense, k).items() if key != names.SCORES}
    ),
    "top_k of a stale model": listed_as(lambda right, dense, k: right(np.roll(dense, 1, 1), k)),
}.items():
    add(name, [HEAD], apply)


@fault(HEAD)
def encoded_top_k_keeps_another(model, server):
    model.takes_files = True
    right = model.predict

    def predict(signature, inputs):
        more = {names.K: inputs[names.K] + 1} if signature == names.ENCODED_IMAGES_TOP_K and names.K in inputs else {}
        return right(signature, inputs | more)

    model.predict = predict


@fault(BACKBONE)
def files_decoded_a_little_differently(model, server):
    right = model.decode
    model.decode = lambda files: right(files) + np.float32(1 / 255)


@fault(HEAD)
def classes_of_another_order(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:, ::-1] for array in right(examples)]


@fault(HEAD)
def a_class_that_is_none_of_the_labels(model, server):
    right = model.classify

    def classify(examples):
        labels, scores = right(examples)
        return np.where(labels == b"a", b"A", labels), scores

    model.classify = classify


@fault(HEAD)
def classes_left_out(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:, :1] for array in right(examples)]


@fault(HEAD)
def an_example_not_classified(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:-1] for array in right(examples)]
