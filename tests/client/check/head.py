"""Answers of a wrong form, and heads that do not keep the k largest."""

import numpy as np

from signatures.contract import names

from .table import BACKBONE, HEAD, IDENTITY, add, attributes, fault, head_as, outputs_as

for name, change in {
    "a class dropped": lambda outputs: {key: array[:, :-1] for key, array in outputs.items()},
    "a class too many": lambda outputs: {key: np.pad(array, ((0, 0), (0, 1))) for key, array in outputs.items()},
    "float64": lambda outputs: {key: array.astype(np.float64) for key, array in outputs.items()},
    "a row missing": lambda outputs: {key: array[:-1] for key, array in outputs.items()},
    "a row too many": lambda outputs: {key: np.concatenate([array, array[:1]]) for key, array in outputs.items()},
    "no rows": lambda outputs: {key: array[:0] for key, array in outputs.items()},
    "no batch dimension": lambda outputs: {key: array[0] for key, array in outputs.items()},
    "a dimension too many": lambda outputs: {key: array[:, None] for key, array in outputs.items()},
    "an output renamed": lambda outputs: {"scores": outputs[names.PROBABILITIES]},
    "no outputs": lambda outputs: {},
}.items():
    add(name, [BACKBONE, HEAD], outputs_as(change))

for name, change in {
    "keeps k + 1": lambda right, dense, k: right(dense, np.minimum(k + 1, 8)),
    "keeps k + 1 of some": lambda right, dense, k: right(dense, k + (dense[:, 0] > 0.5)),
    "k of zero keeps one": lambda right, dense, k: right(dense, np.maximum(k, 1)),
    "k of N - 1 keeps all": lambda right, dense, k: right(dense, np.where(k == 7, 8, k)),
    "k ignored": lambda right, dense, k: right(dense, np.where(k == 8, 8, 2)),
    "the first k for all": lambda right, dense, k: right(dense, np.full(len(k), k[0])),
    "k in reverse": lambda right, dense, k: right(dense, k[::-1]),
    "a negative k keeps all": lambda right, dense, k: right(dense, np.where(k < 0, 8, k)),
    "a large k keeps none": lambda right, dense, k: right(dense, np.where(k > 8, 0, k)),
    "kept scores in float16": lambda right, dense, k: np.where(
        (k < 8)[:, None], right(dense, k).astype(np.float16), right(dense, k)
    ).astype(np.float32),
    "kept scores made to sum to one": lambda right, dense, k: (
        np.where((k < 8)[:, None], right(dense, k) / np.maximum(right(dense, k).sum(1, keepdims=True), 1e-9), dense)
    ).astype(np.float32),
    "kept scores made one": lambda right, dense, k: np.where((k < 8)[:, None], right(dense, k) > 0, dense).astype(
        np.float32
    ),
    "the rest not quite zero": lambda right, dense, k: np.maximum(right(dense, k), np.float32(1e-7)),
    "sparsified rows reversed": lambda right, dense, k: np.where((k < 8).all(), right(dense, k)[::-1], right(dense, k)),
    "a lone row left dense": lambda right, dense, k: dense if len(dense) == 1 else right(dense, k),
    "the kept entries one place on": lambda right, dense, k: np.where(
        (k < 8)[:, None], np.roll(right(dense, k), 1, 1), dense
    ),
    "the lowest kept": lambda right, dense, k: np.where(
        (k < 8)[:, None], np.where(right(-dense, k) != 0, dense, 0), dense
    ).astype(np.float32),
    "kept scores a ten-thousandth off": lambda right, dense, k: np.where(
        (k < 8)[:, None], right(dense, k) * np.float32(1.0001), dense
    ),
}.items():
    add(name, [HEAD], head_as(change))

add("keeps k - 1", [BACKBONE, HEAD], head_as(lambda right, dense, k: right(dense, k - 1)))
add("fixed_k keeps 3", [IDENTITY, HEAD], attributes(k=3))


@fault(HEAD)
def two_replicas_with_different_heads(model, server):
    right, calls = model.head, []

    def head(dense, k):
        calls.append(1)
        return right(dense, k if len(calls) % 2 else np.minimum(k + 1, 8))

    model.head = head


@fault(HEAD)
def left_out_k_means_all(model, server):
    right = model.predict

    def predict(signature, inputs):
        every = {names.K: np.array(8)} if signature == names.SERVING_DEFAULT and names.K not in inputs else {}
        return right(signature, inputs | every)

    model.predict = predict


@fault(HEAD)
def a_scalar_k_is_refused(model, server):
    right = model.predict

    def predict(signature, inputs):
        if names.K in inputs and not inputs[names.K].ndim:
            raise ValueError("k must be a vector")
        return right(signature, inputs)

    model.predict = predict


@fault(HEAD)
def an_error_in_the_middle(model, server):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 20:
            raise ValueError("out of memory")
        return right(signature, inputs)

    model.predict = predict
