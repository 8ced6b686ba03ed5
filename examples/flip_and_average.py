"""Test-time augmentation at serving time: every image is also asked about mirrored, and the scores are averaged.

Two halves make a signature: how a request is read, and how it is answered. Ours for the second half will do.

    python examples/flip_and_average.py models
"""

import sys
from dataclasses import replace

import tensorflow as tf

from exporter import Classifier, OwnSignatures, export, load_classifier
from signatures import InputForm, Limits
from signatures.contract import names
from signatures.input_forms import tensors_form
from signatures.output_forms import top_k_output


def flip_and_average(classifier: Classifier, k: int) -> InputForm:
    """Take images and limits, as `top_k` does; answer with the mean over each image and its mirror image."""
    plain = tensors_form(classifier.inputs.specs, classifier.inputs.id_bounds, k)

    def read(received: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], Limits]:
        (images,), limits = plain.read(received)
        return [tf.concat([images, tf.image.flip_left_right(images)], axis=0)], limits

    def average(scores: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.stack(tf.split(scores, 2)), axis=0)

    return replace(plain, read=read, combine=average)


def own_signatures(classifier: Classifier, k: int) -> OwnSignatures:
    """Return the signature that this example adds, by key."""
    return {"flipped_" + names.TOP_K: (flip_and_average(classifier, k), top_k_output(classifier.labels))}


if __name__ == "__main__":
    digits = load_classifier("digits")
    print(export(digits, sys.argv[1], k=2, own_signatures=own_signatures(digits, 2)).path)
