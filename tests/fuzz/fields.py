"""Inputs of random models: shape and type, the values that requests hold, and the layers that read them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

VOCABULARY = ["red", "green", "blue", "häuser", "日本", "a b"]
WORDS = [*VOCABULARY, "unknown", "", "RED, green!", "nul\0byte", "naïve façade"]
# Requests of models that take any length are this long; some windows of the layers below need three.
SHORTEST, LONGEST = 3, 14


@dataclass(frozen=True)
class Field:
    """One input of a model.

    name: as Keras calls it. shape: without the batch; None is any length. draw: values for a whole shape. steps: the
    layers and functions that make features [B, F] of it, one after the other. bound: how many ids there are, where it
    goes straight into an embedding.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    draw: Callable[[np.random.Generator, tuple[int, ...]], Any]
    steps: Sequence[Any]
    words: str
    bound: int | None = None

    def read(self, tensor: Any) -> Any:
        for step in self.steps:
            tensor = step(tensor)
        return tensor

    def values(self, rng: np.random.Generator, examples: int, length: int) -> Any:
        return self.draw(rng, (examples, *(length if size is None else size for size in self.shape)))


def field(rng: np.random.Generator, name: str) -> Field:
    """Draw an input."""
    kind = rng.choice(["numbers", "ids", "strings", "bools"], p=[0.5, 0.22, 0.2, 0.08])
    return {"numbers": _numbers, "ids": _ids, "strings": _strings, "bools": _bools}[kind](rng, name)


def image(rng: np.random.Generator, name: str, *, dtype: str | None = None) -> Field:
    """Draw an input that picture files can be decoded to, mostly."""
    channels = int(rng.choice([1, 3, 4], p=[0.35, 0.62, 0.03]))
    dtype = dtype or str(rng.choice(["float32", "uint8", "float16"], p=[0.8, 0.1, 0.1]))
    return _numeric(name, (int(rng.integers(5, 9)), int(rng.integers(5, 9)), channels), dtype, _of_images(rng, True))


def _numbers(rng: np.random.Generator, name: str) -> Field:
    dtypes = ["float32", "float16", "int32", "uint8", "int64", "int8", "float64", "bfloat16", "uint32", "int16"]
    dtype = str(rng.choice(dtypes, p=[0.5, 0.1, 0.08, 0.12, 0.06, 0.03, 0.03, 0.03, 0.02, 0.03]))
    rank = int(rng.choice([1, 2, 3, 4], p=[0.15, 0.4, 0.2, 0.25]))
    free = rank > 2 and rng.random() < 0.35
    width = int(rng.integers(1, 6))
    if rank == 1:
        return _numeric(name, (), dtype, [ToFloat(), keras.layers.Reshape((1,))])
    if rank == 2:
        return _numeric(name, (width,), dtype, _of_vectors(rng, width))
    if rank == 3:
        return _numeric(name, (None if free else int(rng.integers(3, 7)), width), dtype, _of_sequences(rng, not free))
    sides = (None, None) if free else (int(rng.integers(4, 8)), int(rng.integers(4, 8)))
    return _numeric(name, (*sides, int(rng.choice([1, 3]))), dtype, _of_images(rng, not free))


def _numeric(name: str, shape: tuple[int | None, ...], dtype: str, steps: Sequence[Any]) -> Field:
    def draw(rng: np.random.Generator, whole: tuple[int, ...]) -> Any:
        if dtype.startswith(("int", "uint")):
            return rng.integers(0, 100, whole).astype(dtype)
        array = rng.normal(size=whole)
        if dtype == "bfloat16":
            import ml_dtypes

            return array.astype(ml_dtypes.bfloat16)
        return array.astype(dtype)

    scale = keras.layers.Rescaling(1 / 50) if dtype.startswith(("int", "uint")) else ToFloat()
    return Field(name, shape, dtype, draw, [scale, *steps], f"{dtype} {_shown(shape)}")


def _of_vectors(rng: np.random.Generator, width: int) -> list[Any]:
    mean, variance = rng.normal(size=width).tolist(), rng.uniform(0.5, 2, width).tolist()
    return [
        [keras.layers.Dense(6, activation="relu")],
        [keras.layers.Normalization(mean=mean, variance=variance)],
        [keras.layers.Discretization(bin_boundaries=[-1.0, 0.0, 0.5, 2.0], output_mode="multi_hot")],
        [keras.layers.Dropout(0.5), keras.layers.Dense(4, activation="tanh")],
        [keras.layers.GaussianNoise(0.5), keras.layers.LayerNormalization(), keras.layers.Dense(5)],
        [keras.layers.Dense(6), keras.layers.BatchNormalization(), keras.layers.Activation("gelu")],
    ][rng.integers(6)]


def _of_sequences(rng: np.random.Generator, known_length: bool) -> list[Any]:
    pooled = keras.layers.GlobalAveragePooling1D()
    choices = [
        [keras.layers.Conv1D(4, 2, activation="relu"), pooled],
        [keras.layers.GRU(4)],
        [keras.layers.Masking(), keras.layers.LSTM(3)],
        [keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True)), keras.layers.GlobalMaxPooling1D()],
        [keras.layers.TimeDistributed(keras.layers.Dense(4, activation="relu")), pooled],
        [keras.layers.SpatialDropout1D(0.3), keras.layers.Conv1D(4, 3, padding="causal"), pooled],
    ]
    flat = [[keras.layers.Flatten(), keras.layers.Dense(5, activation="relu")]] if known_length else []
    return [*choices, *flat, *flat][rng.integers(len(choices) + 2 * len(flat))]


def _of_images(rng: np.random.Generator, known_size: bool) -> list[Any]:
    pooled = keras.layers.GlobalAveragePooling2D()
    choices = [
        [keras.layers.Conv2D(4, 3, activation="relu"), pooled],
        [keras.layers.RandomFlip(), keras.layers.RandomRotation(0.1), keras.layers.Conv2D(4, 2), pooled],
        [keras.layers.Rescaling(0.5, offset=0.1), keras.layers.DepthwiseConv2D(2), keras.layers.GlobalMaxPooling2D()],
        [keras.layers.SeparableConv2D(4, 2), keras.layers.BatchNormalization(), keras.layers.ReLU(), pooled],
        [keras.layers.Resizing(6, 6), keras.layers.MaxPooling2D(2), keras.layers.Flatten()],
        [keras.layers.ZeroPadding2D(1), keras.layers.Conv2D(3, 3, strides=2), pooled],
    ]
    flat = [keras.layers.RandomContrast(0.2), keras.layers.AveragePooling2D(2), keras.layers.Flatten()]
    return [*choices, *([flat] if known_size else [])][rng.integers(len(choices) + known_size)]


def _ids(rng: np.random.Generator, name: str) -> Field:
    dtype = str(rng.choice(["int32", "int64", "uint8", "float32", "int8"], p=[0.6, 0.15, 0.1, 0.1, 0.05]))
    ids = int(rng.choice([7, 30, 100, 300]))
    largest = min(ids, 100 if dtype == "int8" else 256 if dtype == "uint8" else ids)
    embed = keras.layers.Embedding(ids, 4, mask_zero=bool(rng.random() < 0.4))
    rank = int(rng.choice([1, 2, 3], p=[0.2, 0.65, 0.15]))
    if rank == 1:
        shape: tuple[int | None, ...] = ()
        steps = [[embed], [keras.layers.CategoryEncoding(ids, output_mode="one_hot")]][rng.integers(2)]
        if dtype == "float32":
            steps = [embed]
    elif rank == 3:
        shape = (int(rng.integers(2, 4)), int(rng.integers(2, 4)))
        steps = [embed, lambda tensor: keras.ops.mean(tensor, axis=(1, 2))]
    else:
        shape = (None,) if rng.random() < 0.5 else (int(rng.integers(1, 6)),)
        steps = _of_tokens(rng, embed, ids, dtype)

    def draw(rng: np.random.Generator, whole: tuple[int, ...]) -> Any:
        return rng.integers(0, largest, whole).astype(dtype)

    # None that the type cannot hold, as a request cannot either.
    bound = ids if steps[0] is embed and largest == ids and (dtype != "uint8" or ids < 256) else None
    return Field(name, shape, dtype, draw, steps, f"{ids} {dtype} ids {_shown(shape)}", bound)


def _of_tokens(rng: np.random.Generator, embed: Any, ids: int, dtype: str) -> list[Any]:
    pooled = keras.layers.GlobalAveragePooling1D()
    choices = [
        [embed, pooled],
        [embed, keras.layers.GRU(4)],
        [embed, SelfAttention(), pooled],
        [embed, keras.layers.LSTM(3)],
        [embed, keras.layers.GlobalMaxPooling1D()],
    ]
    if dtype in ("int32", "int64"):
        choices += [
            [keras.layers.Hashing(5), keras.layers.CategoryEncoding(5, output_mode="count")],
            [keras.layers.IntegerLookup(vocabulary=[1, 2, 5]), keras.layers.Embedding(4, 3), pooled],
            [keras.layers.CategoryEncoding(ids, output_mode="multi_hot")],
        ]
    return choices[rng.integers(len(choices))]


@keras.saving.register_keras_serializable(package="fuzz")
class SelfAttention(keras.layers.Layer):
    """Attends to itself."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True
        self.attention = keras.layers.MultiHeadAttention(2, 4)

    def build(self, shape: Any) -> None:
        self.attention.build(shape, shape)
        self.built = True

    def call(self, tensor: Any) -> Any:
        return self.attention(tensor, tensor)


def _strings(rng: np.random.Generator, name: str) -> Field:
    pooled = keras.layers.GlobalAveragePooling1D()
    shape: tuple[int | None, ...] = [(), (1,), (4,), (None,)][rng.choice(4, p=[0.35, 0.25, 0.2, 0.2])]
    if len(shape) == 0 or shape == (1,):
        mode = str(rng.choice(["int", "multi_hot", "count", "tf_idf"]))
        text = keras.layers.TextVectorization(
            vocabulary=["red", "green", "blue", "häuser"],
            idf_weights=[0.5, 1.0, 1.5, 2.0] if mode == "tf_idf" else None,
            output_mode=mode,
            split=str(rng.choice(["whitespace", "character"])),
            output_sequence_length=5 if mode == "int" and rng.random() < 0.5 else None,
        )
        read = [text, keras.layers.Embedding(6, 3), pooled] if mode == "int" else [text]
        flat = keras.layers.Flatten()
        lookup = [keras.layers.StringLookup(vocabulary=VOCABULARY, output_mode="one_hot"), flat]
        hashed = [keras.layers.Hashing(6), keras.layers.CategoryEncoding(6, output_mode="one_hot"), flat]
        steps = [read, read, lookup, hashed][rng.integers(4)]
    else:
        unknown = int(rng.choice([0, 1, 2], p=[0.15, 0.55, 0.3]))
        lookup = keras.layers.StringLookup(vocabulary=VOCABULARY, num_oov_indices=unknown)
        several = [lookup, keras.layers.Embedding(9, 3), pooled]
        counted = [keras.layers.StringLookup(vocabulary=VOCABULARY, output_mode="count")]
        hashed = [keras.layers.Hashing(8, salt=3), keras.layers.Embedding(8, 3), keras.layers.GRU(3)]
        steps = [several, counted, hashed][rng.integers(3)]

    strict = any(getattr(step, "num_oov_indices", None) == 0 for step in steps)

    def draw(rng: np.random.Generator, whole: tuple[int, ...]) -> Any:
        return rng.choice(np.array([word.encode() for word in (VOCABULARY if strict else WORDS)], object), whole)

    return Field(name, shape, "string", draw, steps, f"string {_shown(shape)}")


def _bools(rng: np.random.Generator, name: str) -> Field:
    shape: tuple[int | None, ...] = [(), (3,), (4, 2)][rng.integers(3)]
    shaped = {0: [keras.layers.Reshape((1,))], 1: [], 2: [keras.layers.Flatten()]}[len(shape)]
    draw = lambda rng, whole: rng.integers(0, 2, whole).astype(bool)  # noqa: E731
    return Field(name, shape, "bool", draw, [ToFloat(), *shaped, keras.layers.Dense(3)], f"bool {_shown(shape)}")


@keras.saving.register_keras_serializable(package="fuzz")
class ToFloat(keras.layers.Layer):
    """Casts, as a layer, so that a Sequential model can hold it."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.supports_masking = True

    def call(self, tensor: Any) -> Any:
        return keras.ops.cast(tensor, "float32")


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("B" if n == 0 else str(size or "any") for n, size in enumerate(("B", *shape))) + "]"
