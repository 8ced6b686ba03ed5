"""What random models end in: scores that can be served, and much that cannot."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf


@dataclass(frozen=True)
class Head:
    """The end of a model.

    finish: makes the model's output of features [B, F]. activation: what the classifier is told. randomly: whether two
    calls give two answers, so that nothing but a refusal is right.
    """

    words: str
    finish: Callable[[Any], Any]
    layers: Sequence[Any] | None = None
    activation: str | None = None
    hopeless: bool = False


def head(rng: np.random.Generator, n: int) -> Head:
    """Draw the end of a model with n scores."""
    usual = {"sigmoid": 0.31, "softmax": 0.26, "layer": 0.12, "logits": 0.18, "odd": 0.13}
    kind = rng.choice(list(usual), p=list(usual.values()))
    if kind in ("sigmoid", "softmax"):
        return _stack(kind, [_dense(n, kind)])
    if kind == "layer":
        layer = [keras.layers.Softmax(), keras.layers.Activation("sigmoid"), keras.layers.ReLU(max_value=1.0)]
        return _stack("scores by a layer", [_dense(n), layer[rng.integers(3)]])
    if kind == "logits":
        activation = rng.choice(["sigmoid", "softmax"])
        return _stack(f"logits and {activation}", [_dense(n)], activation=str(activation))
    odd = _odd(n)
    return odd[rng.choice(list(odd))]()


def _odd(n: int) -> dict[str, Callable[[], Head]]:
    sigmoid = lambda x: _dense(n, "sigmoid")(x)  # noqa: E731
    return {
        "logits": lambda: _stack("bare logits", [_dense(n)]),
        "tanh": lambda: _stack("tanh", [_dense(n, "tanh")]),
        "relu": lambda: _stack("relu", [_dense(n, "relu")]),
        "constant": lambda: _stack("one score for all", [keras.layers.Dense(n, "sigmoid", kernel_initializer="zeros")]),
        "NaN": lambda: _stack("NaN", [_dense(n, bias=np.nan)], hopeless=True),
        "infinite": lambda: _stack("infinity", [_dense(n, bias=np.inf)], hopeless=True),
        "infinite logits": lambda: _stack("infinite logits", [_dense(n, bias=-np.inf)], activation="sigmoid"),
        "NaN for some": lambda: Head("NaN for some", lambda x: sigmoid(x) + 0 * keras.ops.sqrt(3.0 + x[:, :1])),
        "rank 1": lambda: _stack("rank 1", [_dense(1, "sigmoid"), keras.layers.Reshape(())], hopeless=True),
        "rank 3": lambda: _stack("rank 3", [_dense(2 * n, "sigmoid"), keras.layers.Reshape((2, n))], hopeless=True),
        "rows": lambda: Head(
            "2 rows each", lambda x: keras.ops.reshape(_dense(2 * n, "sigmoid")(x), (-1, n)), hopeless=True
        ),
        "one row": lambda: Head("1 row", lambda x: keras.ops.max(sigmoid(x), axis=0, keepdims=True), hopeless=True),
        "two": lambda: Head("two outputs", lambda x: [sigmoid(x), sigmoid(x)], hopeless=True),
        "two by name": lambda: Head("two named", lambda x: {"a": sigmoid(x), "b": sigmoid(x)}, hopeless=True),
        "one in a list": lambda: Head("one in a list", lambda x: [sigmoid(x)]),
        "one by name": lambda: Head("one by name", lambda x: {"scores": sigmoid(x)}),
        "integers": lambda: Head("integers", lambda x: keras.ops.cast(sigmoid(x) > 0.5, "int32")),
        "bools": lambda: Head("bools", lambda x: sigmoid(x) > 0.5),
        "strings": lambda: Head("strings", lambda x: ToText()(sigmoid(x)), hopeless=True),
        "float16": lambda: Head("float16", lambda x: keras.ops.cast(sigmoid(x), "float16")),
        "float64": lambda: Head("float64", lambda x: keras.ops.cast(sigmoid(x), "float64")),
        "random": lambda: Head("randomness", lambda x: Random()(sigmoid(x)), hopeless=True),
        "mixing": lambda: Head(
            "rows that mix", lambda x: sigmoid(x) * keras.ops.sigmoid(3 * keras.ops.sum(x[:1])), hopeless=True
        ),
        "untracked": lambda: Head("a table of its own", lambda x: OwnTable(n)(sigmoid(x))),
        "python": lambda: Head("Python code", lambda x: CallsPython(n)(sigmoid(x)), hopeless=True),
    }


def _stack(words: str, layers: Sequence[Any], activation: str | None = None, *, hopeless: bool = False) -> Head:
    def finish(tensor: Any) -> Any:
        for layer in layers:
            tensor = layer(tensor)
        return tensor

    return Head(words, finish, layers, activation, hopeless)


def _dense(n: int, activation: str | None = None, bias: float = 0.1) -> Any:
    return keras.layers.Dense(
        n,
        activation,
        kernel_initializer=keras.initializers.RandomNormal(stddev=1.0),
        bias_initializer=keras.initializers.Constant(bias),
    )


@keras.saving.register_keras_serializable(package="fuzz")
class ToText(keras.layers.Layer):
    def call(self, scores: Any) -> Any:
        return tf.strings.as_string(scores)

    def compute_output_spec(self, scores: Any) -> Any:
        return keras.KerasTensor(scores.shape, "string")


@keras.saving.register_keras_serializable(package="fuzz")
class Random(keras.layers.Layer):
    """Draws whenever it is asked."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = keras.random.SeedGenerator(1)

    def call(self, scores: Any) -> Any:
        return scores * keras.random.uniform(keras.ops.shape(scores), seed=self.seed)

    def compute_output_spec(self, scores: Any) -> Any:
        return keras.KerasTensor(scores.shape, scores.dtype)


@keras.saving.register_keras_serializable(package="fuzz")
class OwnTable(keras.layers.Layer):
    """Multiplies with what is in a table that Keras knows nothing of."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n
        values = tf.lookup.KeyValueTensorInitializer(tf.range(n, dtype=tf.int64), tf.linspace(0.1, 0.9, n))
        self.secret = tf.lookup.StaticHashTable(values, default_value=0.5)

    def call(self, scores: Any) -> Any:
        return scores * self.secret.lookup(tf.range(self.n, dtype=tf.int64))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}


@keras.saving.register_keras_serializable(package="fuzz")
class CallsPython(keras.layers.Layer):
    """Calls back into Python, which no server has."""

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = n

    def call(self, scores: Any) -> Any:
        halved = tf.numpy_function(lambda array: array / 2, [scores], tf.float32)
        return tf.ensure_shape(halved, [None, self.n])

    def compute_output_spec(self, scores: Any) -> Any:
        return keras.KerasTensor(scores.shape, scores.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "n": self.n}
