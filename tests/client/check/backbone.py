"""Dense scores that are not the exported ones."""

import numpy as np

from .table import BACKBONE, HEAD, add, dense_as, fault

random = np.random.default_rng(0)
NOISE = 1 + 0.01 * random.choice([-1, 1], (16, 8)).astype(np.float32)


def logits(scores):
    return np.log(scores / (1 - scores))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def bfloat16(array):
    return (np.asarray(array, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


@fault(BACKBONE)
def a_bias_is_a_tenth_higher(model, server):
    model.bias = model.bias + np.float32(0.1) * (np.arange(8) == 7)


@fault(BACKBONE)
def weights_differ_by_a_hundredth(model, server):
    model.weights = model.weights * NOISE


@fault(BACKBONE)
def one_weight_differs_by_a_hundredth(model, server):
    model.weights = model.weights.copy()
    model.weights[5, 3] *= 1.01


@fault(BACKBONE)
def weights_in_float16(model, server):
    model.weights = model.weights.astype(np.float16).astype(np.float32)


@fault(BACKBONE)
def weights_in_bfloat16(model, server):
    model.weights = bfloat16(model.weights)


def rounded(array, bits):
    """The nearest float32 values with so many bits of mantissa, ties to even."""
    drop = 23 - bits
    integers = np.ascontiguousarray(array, np.float32).view(np.uint32)
    odd = (integers >> drop) & 1
    return ((integers + (1 << (drop - 1)) - 1 + odd) >> drop << drop).astype(np.uint32).view(np.float32)


def computed_in(bits, rounds_results):
    """Serve a backbone whose products take numbers of so many bits of mantissa; perhaps all that it computes is so."""

    def apply(model, server):
        weights, bias = rounded(model.weights, bits), model.bias

        def dense(images):
            products = rounded(images.reshape(len(images), -1) - 0.5, bits) @ weights
            if not rounds_results:
                return sigmoid(products + bias).astype(np.float32)
            return rounded(sigmoid(rounded(rounded(products, bits) + rounded(bias, bits), bits)), bits)

        model.dense = dense

    return apply


# What a server with --mixed_precision=bfloat16 makes of a float32 model, and what GPUs do unless they are told not to.
LESS_PRECISE = {
    "a backbone computed in bfloat16": computed_in(7, rounds_results=True),
    "a backbone computed in TF32": computed_in(10, rounds_results=False),
}
for name, apply in LESS_PRECISE.items():
    add(name, [BACKBONE], apply)


@fault(BACKBONE)
def classes_of_the_weights_permuted(model, server):
    model.weights, model.bias = model.weights[:, ::-1], model.bias[::-1]


for name, change in {
    "scores in float16": lambda scores, images: scores.astype(np.float16),
    "scores in bfloat16": lambda scores, images: bfloat16(scores),
    "scores rounded to three places": lambda scores, images: np.round(scores, 3),
    "scores in eight bits": lambda scores, images: np.round(scores * 255) / 255,
    "a temperature of 1.01": lambda scores, images: sigmoid(logits(scores.astype(np.float64)) / 1.01),
    "softmax instead of sigmoid": lambda scores, images: (
        np.exp(logits(scores)) / np.exp(logits(scores)).sum(1, keepdims=True)
    ),
    "logits instead of scores": lambda scores, images: logits(scores.astype(np.float64)),
    "the complement": lambda scores, images: 1 - scores,
    "scores clipped to 0.01 and 0.99": lambda scores, images: np.clip(scores, 0.01, 0.99),
    "rows reversed": lambda scores, images: scores[::-1],
    "rows moved on by one": lambda scores, images: np.roll(scores, 1, 0),
    "the first row for all": lambda scores, images: np.repeat(scores[:1], len(scores), 0),
    "the last of eight rows wrong": lambda scores, images: np.where(np.arange(len(scores))[:, None] == 7, 0.5, scores),
    "a lone row wrong": lambda scores, images: scores if len(scores) > 1 else scores * 0.99,
    "one image wrong": lambda scores, images: np.where(images.mean((1, 2, 3))[:, None] > 0.578, scores * 0.99, scores),
    "a class that is never seen": lambda scores, images: scores * (np.arange(8) != 4),
    "one entry a thousandth higher": lambda scores, images: scores * (1 + 0.001 * (np.arange(8) == 2)),
}.items():
    add(name, [BACKBONE], dense_as(change))


@fault(BACKBONE, HEAD)
def not_a_number(model, server):
    dense_as(lambda scores, images: np.where(np.arange(8) == 3, np.nan, scores))(model, server)


@fault(BACKBONE, HEAD)
def infinity(model, server):
    dense_as(lambda scores, images: np.where(np.arange(8) == 3, np.inf, scores))(model, server)


@fault(BACKBONE)
def pixels_scaled_twice(model, server):
    right = model.dense
    model.dense = lambda images: right(images / 255)


@fault(BACKBONE)
def images_mirrored(model, server):
    right = model.dense
    model.dense = lambda images: right(images[:, :, ::-1])


@fault(BACKBONE)
def images_transposed(model, server):
    right = model.dense
    model.dense = lambda images: right(images.swapaxes(1, 2))


@fault(BACKBONE, HEAD)
def two_replicas_with_different_weights(model, server):
    right, calls = model.dense, []

    def dense(images):
        calls.append(1)
        return right(images) * np.float32(1 if len(calls) % 3 else 0.99)

    model.dense = dense
