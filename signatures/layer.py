"""The sparsified head as a Keras layer, for models that carry it themselves."""

import numbers
from typing import Any

import keras
import tensorflow as tf

from signatures.head import sparsify_top_k


@keras.saving.register_keras_serializable(package="sparsehead")
class SparsifyTopK(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Zero all but each row's k largest entries: `sparsify_top_k` as a layer.

    Once `signatures.layer` is imported, a model that ends in this layer is saved to and loaded from a `.keras` file
    like any other. Gradients flow only through the kept entries. The layer needs Keras's TensorFlow backend.

    Input and output: a float tensor [..., N] of the layer's compute dtype: float16, bfloat16, float32 or float64.

    Args:
        k: how many entries of a row to keep. k = 0 keeps nothing, k >= N keeps everything.
        n_to_zero: how many of the smallest entries of a row to zero, which means k = N - n_to_zero. Pass either this
            or k, not both.
        **kwargs: arguments of every Keras layer, such as `name`.

    Raises:
        ValueError: if neither or both are passed, or if the one passed is negative.
        TypeError: if it is not an integer.

    Example:
        >>> SparsifyTopK(k=2)(keras.ops.array([[0.75, 0.125, 0.875, 0.25]])).numpy().tolist()
        [[0.75, 0.0, 0.875, 0.0]]
        >>> SparsifyTopK(n_to_zero=1)(keras.ops.array([[0.75, 0.125, 0.875, 0.25]])).numpy().tolist()
        [[0.75, 0.0, 0.875, 0.25]]
    """

    def __init__(self, *, k: int | None = None, n_to_zero: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if (k is None) == (n_to_zero is None):
            received = "neither" if k is None else "both"
            raise ValueError(f"SparsifyTopK takes either k or n_to_zero, and received {received}: pass one of them.")
        name, count = ("k", k) if n_to_zero is None else ("n_to_zero", n_to_zero)
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            raise TypeError(f"SparsifyTopK received {name} = {count!r}, which is not an integer: pass one.")
        if count < 0:
            raise ValueError(f"SparsifyTopK received {name} = {count}: use a number from 0 on.")
        self.k: int | None = None if k is None else int(k)
        self.n_to_zero: int | None = None if n_to_zero is None else int(n_to_zero)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Sparsify [..., N]."""
        k = tf.shape(inputs)[-1] - self.n_to_zero if self.k is None else self.k
        return sparsify_top_k(inputs, k)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """Return the shape of the output, which is that of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that re-create the layer."""
        return {**super().get_config(), "k": self.k, "n_to_zero": self.n_to_zero}
