"""Factories of models of many kinds, as `export-model kinds_of_models:NAME` takes them."""

import keras
import numpy as np
import tensorflow as tf

WORDS = [f"word{number}" for number in range(200)]


def _seeded(seed=1):
    keras.utils.set_random_seed(seed)


def cnn():
    """Images and 20 labels."""
    _seeded()
    images = keras.Input((16, 16, 3), name="photo")
    hidden = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(images)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    return keras.Model(images, keras.layers.Dense(20, "sigmoid", kernel_initializer="random_normal")(hidden))


def text():
    """Text, a scalar string, and 500 labels."""
    _seeded()
    said = keras.Input((), dtype="string", name="text")
    counted = keras.layers.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")(said)
    return keras.Model(said, keras.layers.Dense(500, "sigmoid", kernel_initializer="random_normal")(counted))


def image_and_table(as_dict=True):
    """An image and a row of a table, as a dict."""
    _seeded()
    image, row = keras.Input((8, 8, 1), name="image"), keras.Input((5,), name="row")
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(image), row])
    scores = keras.layers.Dense(4, "sigmoid")(hidden)
    return keras.Model({"image": image, "row": row} if as_dict else [image, row], scores)


def image_and_table_in_a_list():
    """The same as a list."""
    return image_and_table(as_dict=False)


@keras.saving.register_keras_serializable(package="kinds")
class Subclassed(keras.Model):
    """A subclassed model, which declares no input."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.hidden = keras.layers.Dense(8, "relu")
        self.scores = keras.layers.Dense(6, "sigmoid")

    def call(self, x):
        return self.scores(self.hidden(x))


def subclassed():
    """A subclassed model that has seen data."""
    _seeded()
    model = Subclassed()
    model(np.zeros((1, 3), np.float32))
    return model


def logits():
    """A model that answers with logits."""
    _seeded()
    features = keras.Input((7,), name="features")
    return keras.Model(features, keras.layers.Dense(9)(features))


def half():
    """A model that computes in float16."""
    _seeded()
    features = keras.Input((7,), name="features")
    hidden = keras.layers.Dense(16, "relu", dtype="mixed_float16")(features)
    return keras.Model(features, keras.layers.Dense(5, "sigmoid", dtype="mixed_float16")(hidden))


def tokens():
    """Token ids of any length, masked."""
    _seeded()
    ids = keras.Input((None,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(50, 8, mask_zero=True)(ids)
    pooled = keras.layers.GlobalAveragePooling1D()(embedded)
    return keras.Model(ids, keras.layers.Dense(6, "sigmoid", kernel_initializer="random_normal")(pooled * 20))


def two_heads():
    """Two heads, of which one is a classifier."""
    _seeded()
    features = keras.Input((6,), name="features")
    hidden = keras.layers.Dense(8, "relu")(features)
    return keras.Model(
        features,
        {"tags": keras.layers.Dense(7, "sigmoid")(hidden), "price": keras.layers.Dense(1)(hidden)},
    )


def many_labels():
    """100,000 labels."""
    _seeded()
    features = keras.Input((4,), name="features")
    return keras.Model(features, keras.layers.Dense(100_000, "sigmoid", kernel_initializer="random_normal")(features))


def efficientnet():
    """EfficientNetV2B0 behind augmentation layers."""
    _seeded()
    image = keras.Input((64, 64, 3), name="image")
    augmented = keras.layers.RandomRotation(0.1)(keras.layers.RandomFlip()(image))
    backbone = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg", include_preprocessing=True
    )
    return keras.Model(image, keras.layers.Dense(10, "sigmoid")(backbone(augmented)))


def int8():
    """A quantized model."""
    _seeded()
    features = keras.Input((12,), name="features")
    hidden = keras.layers.Dense(32, "relu")(features)
    model = keras.Model(features, keras.layers.Dense(8, "sigmoid")(hidden))
    model.quantize("int8")
    return model


class Scorer(tf.Module):
    """What somebody wrote without Keras: two signatures, one of them with two outputs."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_normal((6, 5), (1, 2)))

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="rows")])
    def score(self, rows):
        """Return the scores, and the rows' sums."""
        return {"scores": tf.sigmoid(rows @ self.weights), "sums": tf.reduce_sum(rows, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec((None, 6), tf.float32, name="rows")])
    def other(self, rows):
        """Return what nobody wants."""
        return {"rows": rows}


def save_module(path):
    """Save a tf.Module as a SavedModel."""
    module = Scorer()
    tf.saved_model.save(module, str(path), signatures={"score": module.score, "other": module.other})
