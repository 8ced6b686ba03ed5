"""ResNet-18 for several labels, with a head of two dense layers and one sigmoid for each of eight labels."""

from pathlib import Path
from typing import Any

import keras

from exporter.errors import ExportError
from exporter.presets.preset import Preset
from exporter.presets.weights import load_weights
from signatures.contract import names

# ImageNet's mean and deviation, as used to train the published ResNet-18 weights (torchvision's). The network does no
# scaling before its first convolution, and He's initial weights expect about zero mean and unit variance.
PREPROCESSING = "torch"

POOL = 3
# The backbone halves an image five times, rounding up: 65 pixels become a last feature map of 3x3.
SMALLEST_IMAGE = 65


def load(weights: str) -> Preset:
    """Build the model with its standard sizes; see `build_resnet18`."""
    return Preset(model=build_resnet18(weights), preprocessing=PREPROCESSING, untrained=weights == "none")


def build_resnet18(weights: str = "none", labels: int = 8, image_size: int = 224) -> keras.Model:
    """Build the classifier: `images` float32 [B, image_size, image_size, 3] to `probabilities` float32 [B, labels].

    The backbone is the ResNet of 18 layers of He et al. 2016 (arXiv:1512.03385, table 1) down to its last feature map,
    512 channels, with 11,176,512 trained parameters. Strided convolutions are padded equally on both sides, for
    published weights. Above it: 3x3 average pooling, Flatten, Dense 256 with ReLU, Dropout 0.5, Dense with sigmoid.

    Args:
        weights: "none", or the path of a `.weights.h5` file of a model built here.
        labels: N.
        image_size: height and width in pixels, at least 65.

    Raises:
        ExportError: when the weights cannot be loaded, or `image_size` is too small.

    Example:
        >>> build_resnet18(image_size=96).output_shape
        (None, 8)
    """
    if weights == "imagenet":
        raise ExportError("Keras has no ImageNet weights for ResNet-18: use the weights none or a file.")
    if image_size < SMALLEST_IMAGE:
        raise ExportError(
            f"An image size of {image_size} leaves a feature map smaller than the {POOL}x{POOL} that are pooled: "
            f"use {SMALLEST_IMAGE} or more."
        )
    images = keras.Input((image_size, image_size, 3), name=names.IMAGES)
    pooled = keras.layers.AveragePooling2D(POOL)(_backbone(images))
    hidden = keras.layers.Dense(256, activation="relu")(keras.layers.Flatten()(pooled))
    hidden = keras.layers.Dropout(0.5)(hidden)
    probabilities = keras.layers.Dense(labels, activation="sigmoid", name=names.PROBABILITIES)(hidden)
    model = keras.Model(images, probabilities, name="resnet18")
    if weights != "none":
        load_weights(model, Path(weights))
    return model


def _backbone(images: Any) -> Any:
    """Return the last feature map of images, [B, H/32, W/32, 512]."""
    features = keras.layers.ReLU()(_convolved(images, 64, size=7, stride=2))
    # After a ReLU, padding with zeros does not change a maximum.
    features = keras.layers.MaxPooling2D(3, strides=2)(keras.layers.ZeroPadding2D(1)(features))
    for filters, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        features = _basic_block(features, filters, first_stride)
        features = _basic_block(features, filters, 1)
    return features


def _basic_block(features: Any, filters: int, stride: int) -> Any:
    """Add two 3x3 convolutions to the features, which are projected if the shape changes."""
    shortcut = features
    if stride > 1 or features.shape[-1] != filters:
        shortcut = _convolved(features, filters, size=1, stride=stride)
    residual = keras.layers.ReLU()(_convolved(features, filters, size=3, stride=stride))
    residual = _convolved(residual, filters, size=3, stride=1)
    return keras.layers.ReLU()(keras.layers.Add()([shortcut, residual]))


def _convolved(features: Any, filters: int, size: int, stride: int) -> Any:
    """Pad by half the kernel, convolve and normalize."""
    if size > 1:
        features = keras.layers.ZeroPadding2D(size // 2)(features)
    features = keras.layers.Conv2D(filters, size, strides=stride, use_bias=False, kernel_initializer="he_normal")(
        features
    )
    return keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(features)
