"""Half precision for GPUs: the backbone computes in float16 or bfloat16, the head and the answers stay float32."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from client.judge import Tolerance, ranking

# The precisions there are, and how far apart two runs of one model in each may be on one machine: Keras and a session
# run the same kernels, but fuse and thread them differently. Scores are at most 1, so that the absolute bound rules.
DENSE_TOLERANCES: Mapping[str, Tolerance] = {
    "float32": Tolerance(rtol=1e-4, atol=1e-5),
    "mixed_float16": Tolerance(rtol=1e-2, atol=5e-3),
    "mixed_bfloat16": Tolerance(rtol=5e-2, atol=2e-2),
}


@dataclass(frozen=True)
class Deviation:
    """What a precision changed on the samples, against float32.

    Attributes:
        largest: the largest difference of two scores.
        changed_sets: the share of samples whose k kept labels are not the same, from 0 to 1.
    """

    largest: float
    changed_sets: float


def deviation(float32: npt.NDArray[np.float32], dense: npt.NDArray[np.float32], k: int) -> Deviation:
    """Compare dense answers, [S, N], with those in float32."""
    changed = [set(ranking(a)[:k]) != set(ranking(b)[:k]) for a, b in zip(float32, dense, strict=True)]
    return Deviation(float(np.abs(float32 - dense).max()), float(np.mean(changed)))


@contextmanager
def cast_backbone(model: Any, precision: str) -> Iterator[None]:
    """Let a model compute in another precision while it is traced; afterwards it is as it was.

    Every layer without layers inside gets the dtype policy, save the last: that one computes the scores. Variables stay
    float32. Works for subclassed models too, which `keras.models.clone_model` refuses.

    Args:
        model: a Keras model.
        precision: one of DENSE_TOLERANCES.
    """
    leaves = [layer for layer in model._flatten_layers(include_self=False) if not any(layer._flatten_layers(False))]
    # What computes in another type, say of strings, computes in no precision.
    before = [(layer, layer.dtype_policy) for layer in leaves[:-1] if layer.dtype_policy.name == "float32"]
    try:
        if precision != "float32":
            for layer, _ in before:
                layer.dtype_policy = keras.DTypePolicy(precision)
        yield
    finally:
        for layer, policy in before:
            layer.dtype_policy = policy
