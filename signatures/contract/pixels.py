"""Pixels to what an image model takes, and back: what every preprocessing does, in numpy."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Per channel, as in keras.applications.imagenet_utils.preprocess_input.
CAFFE_MEAN = np.array([103.939, 116.779, 123.68], np.float32)
TORCH_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
TORCH_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


def unprocessed(values: NDArray[Any], preprocessing: str) -> NDArray[np.float64]:
    """Return the pixels, not yet rounded, that a preprocessing, one of `names.PREPROCESSINGS`, made these values of.

    Raises:
        ValueError: for another preprocessing, or one of three channels and values of fewer.
    """
    values = np.asarray(values, np.float64)
    if preprocessing in ("caffe", "torch") and values.shape[-1] != 3:
        raise ValueError(f"preprocessing {preprocessing!r} wants 3 channels, not {values.shape[-1]}")
    match preprocessing:
        case "none":
            return values
        case "unit":
            return values * 255
        case "tf":
            return (values + 1) * 127.5
        case "caffe":
            return np.asarray(values + CAFFE_MEAN, np.float64)[..., ::-1]
        case "torch":
            return np.asarray((values * TORCH_DEVIATION + TORCH_MEAN) * 255, np.float64)
    raise ValueError(f"the preprocessing {preprocessing!r} is not known")
