"""Training for the sparsified head: a penalty on the probability that the head would remove."""

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
    zero, as a scalar of `keras.config.floatx()`. Keras divides the result of an activity regularizer by B (see
    `keras.regularizers.Regularizer`). So the loss of [B, N] outputs grows by `weight` times the mean mass per row,
    independent of the batch size.

    The gradient is `weight`/B for each entry outside the k largest and 0 for the rest. Of equal entries, the one with
    the lower index counts as larger.

    Args:
        k: how many entries of a row are not penalized. With k >= N, nothing is penalized.
        weight: how much a mass of 1 outside those entries adds to the loss.

    Raises:
        ValueError: if k or weight is negative, or if weight is not finite.
        TypeError: if k is not an integer.

    Example:
        >>> regularizer = TopKMassRegularizer(k=2, weight=0.5)
        >>> float(regularizer(keras.ops.array([[0.75, 0.125, 0.875, 0.25]])))
        0.1875
        >>> scores = keras.layers.Dense(8, activation="sigmoid", activity_regularizer=regularizer)
    """

    def __init__(self, k: int, weight: float) -> None:
        if not isinstance(k, numbers.Integral) or isinstance(k, bool):
            raise TypeError(f"TopKMassRegularizer received k = {k!r}, which is not an integer: pass one.")
        if k < 0:
            raise ValueError(f"TopKMassRegularizer received k = {k}: use a number from 0 on.")
        if not (weight >= 0 and math.isfinite(weight)):
            raise ValueError(f"TopKMassRegularizer received weight = {weight}: use a finite number from 0 on.")
        self.k: int = int(k)
        self.weight: float = float(weight)

    def __call__(self, probabilities: tf.Tensor) -> tf.Tensor:
        """Return the penalty for [B, ..., N], not yet divided by B."""
        # Keras adds up losses in this type. A sum over a large batch may exceed the range of float16.
        probabilities = tf.cast(probabilities, keras.config.floatx())
        outside = probabilities - sparsify_top_k(probabilities, self.k)
        return self.weight * tf.reduce_sum(outside)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the regularizer."""
        return {"k": self.k, "weight": self.weight}
