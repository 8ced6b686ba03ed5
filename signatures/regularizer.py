"""Training for the sparsified head: a penalty on the probability that the head would take away."""

import math
import numbers
from typing import Any

import keras
import tensorflow as tf

from signatures.head import sparsify_top_k


@keras.saving.register_keras_serializable(package="sparsehead")
class TopKMassRegularizer(keras.regularizers.Regularizer):  # type: ignore[misc]  # Keras has no types
    """Penalize the probability mass outside each row's k largest entries, as a layer's `activity_regularizer`.

    Called on [B, ..., N] it returns `weight` times the *sum* over all rows of the entries that `sparsify_top_k` would
    zero, as a scalar of `keras.config.floatx()`. Keras divides what an activity regularizer returns by B (see
    `keras.regularizers.Regularizer`), so what is added to the loss of [B, N] outputs is `weight` times the mean mass
    a row, whatever the batch size.

    The gradient is `weight`/B for each entry outside the k largest and 0 for the rest. Of equal entries the lower
    index counts as larger.

    Args:
        k: how many entries of a row go free. At k >= N nothing is penalized.
        weight: how much a mass of 1 outside them adds to the loss.

    Raises:
        ValueError: when k or weight is negative, or weight is not finite.
        TypeError: when k is no integer.

    Example:
        >>> keras.layers.Dense(8, activation="sigmoid", activity_regularizer=TopKMassRegularizer(k=2, weight=0.1))
        >>> TopKMassRegularizer(k=2, weight=0.1)(keras.ops.array([[0.7, 0.1, 0.9, 0.3]]))
        0.04
    """

    def __init__(self, k: int, weight: float) -> None:
        if not isinstance(k, numbers.Integral) or isinstance(k, bool):
            raise TypeError(f"TopKMassRegularizer received k = {k!r}, which is no integer: give a number of entries.")
        if k < 0:
            raise ValueError(f"TopKMassRegularizer received k = {k}, and no number of entries is below 0.")
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"TopKMassRegularizer received weight = {weight}: give a finite number from 0 on.")
        self.k: int = int(k)
        self.weight: float = float(weight)

    def __call__(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the penalty of [B, ..., N], not yet divided by B."""
        # The type that Keras adds losses up in; a sum over a large batch may leave what float16 can hold.
        probabilities = tf.cast(probabilities, keras.config.floatx())
        outside = probabilities - sparsify_top_k(probabilities, self.k)
        return self.weight * tf.reduce_sum(outside)

    def get_config(self) -> dict[str, Any]:
        """Return what makes the regularizer anew."""
        return {"k": self.k, "weight": self.weight}
