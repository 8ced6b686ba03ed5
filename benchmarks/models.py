"""The models that several parts measure, exported by us and as Keras exports them."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter import Classifier, ExportOptions, Samples, export, load_classifier
from exporter.presets.mobilenetv2 import build_mobilenetv2

tf.get_logger().setLevel(logging.ERROR)

FEATURES = 64
SERVED = ("serving_default", "top_k", "export_info")
# The folder of the same model without a head, exported by Keras.
PLAIN = "_plain"


def wide(labels: int, features: int = FEATURES) -> Classifier:
    """Return a linear classifier of many labels."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((features,), name="features")
    outputs = keras.layers.Dense(labels, "sigmoid", name="probabilities")(inputs)
    return Classifier(keras.Model(inputs, outputs), f"labels_{labels}")


def mobilenetv2(image_size: int = 224, labels: int = 8) -> Classifier:
    """Return MobileNetV2 with random weights, whose scores differ between images."""
    keras.utils.set_random_seed(0)
    model = build_mobilenetv2(labels=labels, image_size=image_size)
    calibrate(model)
    return Classifier(model, "mobilenetv2")


def calibrate(model: Any) -> None:
    """Make the scores of an untrained network differ between images: as it comes, it answers 0.5 to everything."""
    images = np.random.default_rng(0).uniform(-1, 1, (6, *model.input_shape[1:])).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    head = model.layers[-1]
    logits = tf.matmul(keras.Model(model.input, head.input)(images, training=False), head.kernel)
    scale = 2 / tf.math.reduce_std(logits)
    head.kernel.assign(head.kernel * scale)
    head.bias.assign(-scale * tf.reduce_mean(logits, axis=0))


def publish(
    classifier: Classifier, folder: Path, k: int = 5, signatures: Sequence[str] | None = SERVED, **options: Any
) -> Path:
    """Export a classifier by sparsehead, and return its base path."""
    samples: Samples | None = options.pop("samples", None)
    made = ExportOptions(signatures=signatures, **options)
    return export(classifier, folder, k=k, options=made, samples=samples).path.parent


def publish_plain(classifier: Classifier, folder: Path) -> Path:
    """Export the same model without a head by Keras, and return its base path."""
    base_path = folder / f"{classifier.name}{PLAIN}"
    classifier.model.export(str(base_path / "1"), verbose=False)
    return base_path


def served_models() -> list[Classifier]:
    """Return the models of the part `served`."""
    return [load_classifier("digits"), mobilenetv2(), wide(20_000)]


def images_for(classifier: Classifier, batch: int) -> npt.NDArray[np.float32]:
    """Return random inputs for a model with one input."""
    (spec,) = classifier.inputs.specs.values()
    return np.random.default_rng(0).random((batch, *spec.shape[1:]), np.float32)
