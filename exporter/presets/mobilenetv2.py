"""MobileNetV2 for several labels: global average pooling, then one sigmoid for each of eight labels."""

import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import keras

from exporter.errors import ExportError
from exporter.presets.preset import Preset
from exporter.presets.weights import load_weights
from signatures.contract import names

# The ImageNet weights were trained on pixels from -1 to 1, as keras.applications.mobilenet_v2.preprocess_input returns.
PREPROCESSING = "tf"

SMALLEST_IMAGE = 32
SECONDS_WITHOUT_ANSWER = 20


def load(weights: str) -> Preset:
    """Build the model with its standard sizes; see `build_mobilenetv2`."""
    return Preset(model=build_mobilenetv2(weights), preprocessing=PREPROCESSING, untrained=weights == "none")


def build_mobilenetv2(weights: str = "none", labels: int = 8, image_size: int = 224) -> keras.Model:
    """Build the classifier: `images` float32 [B, image_size, image_size, 3] to `probabilities` float32 [B, labels].

    The backbone is `keras.applications.MobileNetV2` (Sandler et al. 2018, arXiv:1801.04381).

    Args:
        weights: "none"; "imagenet", for the backbone only, which Keras downloads unless it has them already; or the
            path of a `.weights.h5` file of a model built here.
        labels: N.
        image_size: height and width in pixels.

    Raises:
        ExportError: when the weights cannot be loaded, or `image_size` is too small.

    Example:
        >>> build_mobilenetv2(image_size=96).output_shape
        (None, 8)
    """
    if image_size < SMALLEST_IMAGE:
        raise ExportError(f"An image size of {image_size} is too small for MobileNetV2: use {SMALLEST_IMAGE} or more.")
    images = keras.Input((image_size, image_size, 3), name=names.IMAGES)
    backbone = _imagenet_backbone(images) if weights == "imagenet" else _backbone(images, None)
    probabilities = keras.layers.Dense(labels, activation="sigmoid", name=names.PROBABILITIES)(backbone.output)
    model = keras.Model(images, probabilities, name="mobilenetv2")
    if weights not in ("none", "imagenet"):
        load_weights(model, Path(weights))
    return model


def _backbone(images: Any, weights: str | None) -> keras.Model:
    # Keras chooses the weights by this shape, not by the tensor's.
    return keras.applications.MobileNetV2(
        input_shape=images.shape[1:], input_tensor=images, include_top=False, weights=weights, pooling="avg"
    )


def _imagenet_backbone(images: Any) -> keras.Model:
    timeout = socket.getdefaulttimeout()
    # Behind a firewall that drops packets, Keras would wait forever.
    socket.setdefaulttimeout(SECONDS_WITHOUT_ANSWER)
    try:
        # Keras reports the download on stdout, which is for the command's JSON.
        with redirect_stdout(sys.stderr):
            return _backbone(images, "imagenet")
    except Exception as error:  # Keras raises a plain Exception when the network fails.
        raise ExportError(
            f"MobileNetV2's ImageNet weights need the network, which failed ({error}): connect this machine, or use "
            "the weights none or a file."
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
