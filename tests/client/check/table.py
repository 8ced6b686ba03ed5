"""The table of what a server may serve wrong, and what puts a row into it."""

import numpy as np

from signatures.contract import names

IDENTITY, BACKBONE, HEAD = "identity", "backbone", "head"
FAULTS = {}


def fault(*questions):
    """Register a way of serving something wrong, a function of model and server, and the questions that it fails."""

    def register(function):
        FAULTS[function.__name__.replace("_", " ")] = (function, set(questions))
        return function

    return register


def dense_as(change):
    """Serve dense scores that `change` makes of the right ones and of the images."""

    def apply(model, server):
        right = model.dense
        model.dense = lambda images: np.asarray(change(right(images), images), np.float32)

    return apply


def head_as(change):
    """Serve from serving_default and fixed_k what `change` makes of the right head, the dense scores and k."""

    def apply(model, server):
        right = model.head
        model.head = lambda dense, k: change(right, dense, k)

    return apply


def listed_as(change):
    """Serve from top_k what `change` makes of the right outputs."""

    def apply(model, server):
        right = model.listed
        model.listed = lambda dense, k: change(right, dense, k)

    return apply


def declared_as(change):
    def apply(model, server):
        signatures = model.declared()
        change(signatures)
        model.declared = lambda: signatures

    return apply


def info_as(**values):
    def apply(model, server):
        right = model.info
        model.info = lambda probe: (
            right(probe)
            | {
                name: np.full(len(probe), value, object if isinstance(value, bytes) else None)
                for name, value in values.items()
            }
        )

    return apply


def add(name, questions, apply):
    FAULTS[name] = (apply, set(questions))


def attributes(**values):
    def apply(model, server):
        for name, value in values.items():
            setattr(model, name, value)

    return apply


def outputs_as(change, signatures=(names.SERVING_DEFAULT,)):
    def apply(model, server):
        right = model.predict

        def predict(signature, inputs):
            outputs = right(signature, inputs)
            return change(outputs) if signature in signatures else outputs

        model.predict = predict

    return apply
