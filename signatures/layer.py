"""The sparsified head as a Keras layer, for models that carry it themselves."""

import numbers
from typing import Any

import keras
import tensorflow as tf

from signatures.head import sparsify_top_k


@keras.saving.register_keras_serializable(package="sparsehead")
class SparsifyTopK(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Zero all but each row's k largest entries: `sparsify_top_k` as a layer.

    A model that ends in it is saved to and loaded from a `.keras` file like any other, once `signatures.layer` is
    imported. Gradients flow through the kept entries alone. It needs Keras's TensorFlow backend.

    Give either of:
        k: how many entries of a row to keep. At k = 0 none, at k >= N all.
        n_to_zero: how many of the smallest entries of a row to zero, which is k = N - n_to_zero. At n_to_zero >= N all.

    Input and output: a float tensor [..., N] of the layer's compute dtype: float16, bfloat16, float32 or float64.

    Raises:
        ValueError: when neither or both are given, or the one given is negative.
        TypeError: when it is no integer.

    Example:
        >>> SparsifyTopK(k=2)(keras.ops.array([[0.7, 0.1, 0.9, 0.3]]))
        [[0.7, 0.0, 0.9, 0.0]]
        >>> SparsifyTopK(n_to_zero=1)(keras.ops.array([[0.7, 0.1, 0.9, 0.3]]))
        [[0.7, 0.0, 0.9, 0.3]]
    """

    def __init__(self, *, k: int | None = None, n_to_zero: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if (k is None) == (n_to_zero is None):
            received = "neither" if k is None else "both"
            raise ValueError(f"SparsifyTopK takes either k or n_to_zero, and received {received}: give one of them.")
        name, count = ("k", k) if n_to_zero is None else ("n_to_zero", n_to_zero)
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise TypeError(f"SparsifyTopK received {name} = {count!r}, which is no integer: give a number of entries.")
        if count < 0:
            raise ValueError(f"SparsifyTopK received {name} = {count}, and no number of entries is below 0.")
        self.k: int | None = None if k is None else int(k)
        self.n_to_zero: int | None = None if n_to_zero is None else int(n_to_zero)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Sparsify [..., N]."""
        k = tf.shape(inputs)[-1] - self.n_to_zero if self.k is None else self.k
        return sparsify_top_k(inputs, k)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the input, which is the output's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return what makes the layer anew."""
        return {**super().get_config(), "k": self.k, "n_to_zero": self.n_to_zero}
