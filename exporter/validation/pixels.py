"""Compare pixels with Pillow's: a reference that shares no code with the decoder in the graph."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from signatures.contract.pixels import unprocessed

# Pixels may differ only where an image is resized or a JPEG is decoded, and on average by less than this, of 255.
# docs/images.md has the measurements.
_MEAN = 1.5
# A PNG of the model's size may differ only by rounding.
_LARGEST = 0.6
# In coarse types, values may also differ by the type's precision.
_COARSENESS = {"float16": 0.25, "bfloat16": 2.0}


def wrong_pixels(file: bytes, values: npt.NDArray[np.generic], preprocessing: str) -> str:
    """Compare the graph's decoding of an image file with that of Pillow and numpy.

    Args:
        file: a JPEG or PNG file.
        values: the model's input that the graph decoded from it, [H, W, C].
        preprocessing: one of `names.PREPROCESSINGS`.

    Returns:
        How they differ, or "" if they do not or if Pillow cannot read the file.
    """
    expected, lossless = _by_pillow(file, *values.shape)
    if expected is None:
        return ""
    difference = np.abs(unprocessed(values.astype(np.float64), preprocessing) - expected)
    coarseness = _COARSENESS.get(values.dtype.name, 0.0)
    largest, mean = float(difference.max()), float(difference.mean())
    if largest <= _LARGEST + coarseness or (not lossless and mean <= _MEAN + coarseness):
        return ""
    return f"differ from Pillow's by up to {largest:.3g} and by {mean:.3g} on average, of 255"


def _by_pillow(file: bytes, height: int, width: int, channels: int) -> tuple[npt.NDArray[np.uint8] | None, bool]:
    """Return the pixels, and whether they are exact: neither resized nor from a JPEG."""
    try:
        with Image.open(io.BytesIO(file)) as opened:
            lossless = opened.format == "PNG" and opened.size == (width, height)
            image: Image.Image = opened
            if image.mode.startswith("I"):
                # 16-bit gray, where `convert` would clip all values above 255.
                image = Image.fromarray((np.asarray(image) // 256).astype(np.uint8))
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                image = image.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(image).reshape(height, width, channels), lossless
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, False
