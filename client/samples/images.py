"""Turn image files into the arrays that a served image model takes."""

import io
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from client.errors import InputError
from signatures.contract.pixels import CAFFE_MEAN, TORCH_DEVIATION, TORCH_MEAN


def decoded_image(content: bytes, source: str, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return an image's pixels, uint8 [height, width, channels]; it is resized (bilinear) where its size differs.

    Args:
        content: the image's file.
        source: what an error calls it.
        height: the height to return; -1 keeps the image's own.
        width: the same of the width.
        channels: 1 for gray, 3 for RGB.

    Raises:
        InputError: for anything but an image of 8 bits a channel.
    """
    if channels not in (1, 3):
        raise InputError(
            f"the model takes images of {channels} channels: only 1 (gray) and 3 (RGB) can be made of files"
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.mode[0] in "IF":
                raise InputError(f"{source} has more than 8 bits a channel: convert it first")
            size = (image.width if width == -1 else width, image.height if height == -1 else height)
            converted = image.convert("L" if channels == 1 else "RGB")
            if converted.size != size:
                converted = converted.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(converted).reshape(size[1], size[0], channels)
    except UnidentifiedImageError as error:
        raise InputError(f"{source} is not an image that can be read") from error
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        raise InputError(f"{source} cannot be read: {error}") from error


def image_size(path: Path) -> tuple[int, int]:
    """Return an image's width and height, read from its header."""
    with Image.open(path) as image:
        return image.size


def preprocessed(pixels: NDArray[np.uint8], preprocessing: str | None) -> NDArray[np.float32]:
    """Turn pixels, uint8 [..., C], into the model's input, float32 of the same shape.

    preprocessing: the name that export_info gives: "none" (0 to 255), "unit" (0 to 1), "tf" (-1 to 1), "caffe" (BGR,
    mean subtracted), "torch" (mean and deviation). Raises InputError for another, and for None, which stands for
    unknown.

    Source: https://keras.io/api/applications/#usage-examples-for-image-classification-models, for the last three.
    """
    values = pixels.astype(np.float32)
    match preprocessing:
        case "none":
            return values
        case "unit":
            return values / np.float32(255)
        case "tf":
            return values / np.float32(127.5) - np.float32(1)
        case "caffe" | "torch" if pixels.shape[-1] != 3:
            raise InputError(
                f"preprocessing {preprocessing!r} needs 3 channels, but the model takes {pixels.shape[-1]}"
            )
        case "caffe":
            return values[..., ::-1] - CAFFE_MEAN
        case "torch":
            return (values / np.float32(255) - TORCH_MEAN) / TORCH_DEVIATION
        case None:
            raise InputError("the export does not say how images are preprocessed: export again with --preprocessing")
    raise InputError(f"the export names the preprocessing {preprocessing!r}, which this client does not know")
