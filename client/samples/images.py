"""Convert image files to samples, and samples to image files."""

import io
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from client.errors import InputError
from client.rpc.metadata import Metadata
from client.samples.golden import Sample
from client.samples.rows import own_inputs
from signatures.contract import names
from signatures.contract.pixels import preprocessed, unprocessed

_ACCEPTED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def image_sample(content: bytes, source: str, metadata: Metadata, preprocessing: str | None) -> Sample:
    """Return the sample of an image file, resized and preprocessed as the model requires.

    The file is kept if it is a JPEG or PNG. Errors name the `source`.

    Raises:
        InputError: if the file is not an image, the model takes none, or the preprocessing is unknown.
    """
    name, (height, width, channels) = image_input(metadata)
    pixels = decoded_image(content, source, height, width, channels)
    file = content if content.startswith(_ACCEPTED) else None
    if preprocessing is None:
        raise InputError("the export does not say how images are preprocessed: export again with --preprocessing")
    try:
        values = preprocessed(pixels, preprocessing)
    except ValueError as error:
        raise InputError(f"{source} does not fit the model: {error}") from error
    return Sample({name: values[np.newaxis]}, file=file, title=source, source=source)


def decoded_image(content: bytes, source: str, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 [height, width, channels], with 1 channel for gray and 3 for RGB.

    An image of another size is resized (bilinear); a height or width of -1 keeps the image's own.

    Raises:
        InputError: if the file is not an image with 8 bits per channel.
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


def image_input(metadata: Metadata) -> tuple[str, tuple[int, int, int]]:
    """Return the name of the input that takes images, and their height, width (-1 for any) and channels."""
    inputs = own_inputs(metadata.signature(names.SERVING_DEFAULT))
    (name, info), *others = inputs.items() if inputs else [("no input", None)]
    if others or info is None or info.shape is None or len(info.shape) != 4 or info.dtype != "float32":
        raise InputError(f"model {metadata.model} does not take images, but {', '.join(inputs) or 'nothing'}")
    return name, info.shape[1:]


def pixels_of(sample: Sample, preprocessing: str | None) -> NDArray[np.uint8] | None:
    """Return the 8-bit pixels, [H, W, C], that a sample was preprocessed from, or None if there are none."""
    array: NDArray[Any] = next(iter(sample.inputs.values()))
    if len(sample.inputs) != 1 or array.ndim != 4 or array.shape[-1] not in (1, 3) or preprocessing is None:
        return None
    try:
        exact = unprocessed(array[0], preprocessing)
    except ValueError:  # a preprocessing that cannot be undone here
        return None
    pixels = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    # A tenth of a gray level is far more than float32 loses, and far less than made-up pixels would differ by.
    return pixels if np.abs(exact - pixels).max(initial=0) < 0.1 else None


def with_file(sample: Sample, preprocessing: str) -> Sample:
    """Return the sample with a PNG file of its pixels, if it has no file and was made of pixels."""
    pixels = pixels_of(sample, preprocessing) if sample.file is None else None
    return sample if pixels is None else replace(sample, file=png(pixels), exact=True)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of pixels, uint8 [H, W, 1 or 3]."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()
