"""What a picture file's pixels are by Pillow: a reference that shares no code with the decoder in the graph."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from signatures.contract.pixels import unprocessed

# Pixels may differ where a picture is resized, and where libraries decode JPEG; nowhere else. On average by less than
# this, of 255: docs/pictures.md has what was measured.
_MEAN = 1.5
# A PNG of the model's size may differ by rounding alone.
_LARGEST = 0.6
# And by what the model's type cannot tell apart.
_COARSENESS = {"float16": 0.25, "bfloat16": 2.0}


def wrong_pixels(file: bytes, values: npt.NDArray[np.generic], preprocessing: str) -> str:
    """Compare what the graph made of a picture file with what Pillow and numpy make of it.

    Args:
        file: a JPEG or PNG file.
        values: the model's input that the graph made of it, [H, W, C].
        preprocessing: one of `names.PREPROCESSINGS`.

    Returns:
        How they differ, or "" where they do not, and where Pillow cannot read the file.
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
    """Return the pixels, and whether neither resizing nor JPEG can have changed them."""
    try:
        with Image.open(io.BytesIO(file)) as opened:
            lossless = opened.format == "PNG" and opened.size == (width, height)
            picture: Image.Image = opened
            if picture.mode.startswith("I"):
                # 16 bits of gray, of which `convert` would cut off all above 255.
                picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
            picture = picture.convert("L" if channels == 1 else "RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
            return np.asarray(picture).reshape(height, width, channels), lossless
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None, False
