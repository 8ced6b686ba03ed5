"""Preprocess pixels for an image model, and reverse the preprocessing, in NumPy."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Scaling:
    """A preprocessing: (pixels / divisor - mean) / deviation, after reversing the channels if `bgr`."""

    divisor: float = 1
    mean: Any = 0
    deviation: Any = 1
    bgr: bool = False


# The last two have an entry for each of 3 channels, as in keras.applications.imagenet_utils.preprocess_input:
# https://keras.io/api/applications/#usage-examples-for-image-classification-models
_SCALINGS = {
    "none": _Scaling(),
    "unit": _Scaling(255),
    "tf": _Scaling(127.5, 1),
    "caffe": _Scaling(mean=np.array([103.939, 116.779, 123.68], np.float32), bgr=True),
    "torch": _Scaling(255, np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)),
}


def preprocessed(pixels: NDArray[np.uint8], preprocessing: str) -> NDArray[np.float32]:
    """Apply a preprocessing, one of `names.PREPROCESSINGS`, to pixels, [..., C].

    Raises:
        ValueError: if the preprocessing is unknown, or needs 3 channels and C is not 3.
    """
    scaling = _scaling(preprocessing, pixels.shape[-1])
    ordered = pixels[..., ::-1] if scaling.bgr else pixels
    scaled: NDArray[np.float32] = (ordered.astype(np.float32) / scaling.divisor - scaling.mean) / scaling.deviation
    return scaled


def unprocessed(values: NDArray[Any], preprocessing: str) -> NDArray[np.float64]:
    """Return the unrounded pixels that `preprocessed` turns into these values; see there."""
    scaling = _scaling(preprocessing, values.shape[-1])
    pixels: NDArray[np.float64]
    pixels = (np.asarray(values, np.float64) * scaling.deviation + scaling.mean) * scaling.divisor
    return pixels[..., ::-1] if scaling.bgr else pixels


def _scaling(preprocessing: str, channels: int) -> _Scaling:
    scaling = _SCALINGS.get(preprocessing)
    if scaling is None:
        raise ValueError(f"the preprocessing {preprocessing!r} is not known to this release")
    if np.ndim(scaling.mean) and channels != 3:
        raise ValueError(f"preprocessing {preprocessing!r} needs 3 channels, but the model takes {channels}")
    return scaling
