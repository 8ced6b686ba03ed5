"""Samples of image files, and image files of samples."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from client.errors import InputError
from client.rpc.metadata import Metadata
from client.samples.golden import Sample
from client.samples.images import decoded_image, preprocessed
from client.samples.rows import own_inputs
from signatures.contract import names
from signatures.contract.pixels import unprocessed

_ACCEPTED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def image_sample(content: bytes, source: str, metadata: Metadata, preprocessing: str | None) -> Sample:
    """Return the sample of an image, sized and preprocessed as the model declares; its file is kept if JPEG or PNG.

    Args:
        content: the image's file.
        source: what an error calls it.
        metadata: the signatures of the served model.
        preprocessing: how pixels become the model's input, as `export_info` tells.

    Raises:
        InputError: for anything but an image, a model that takes none, or an unknown preprocessing.
    """
    name, (height, width, channels) = image_input(metadata)
    pixels = decoded_image(content, source, height, width, channels)
    file = content if content.startswith(_ACCEPTED) else None
    inputs = {name: preprocessed(pixels, preprocessing)[np.newaxis]}
    return Sample(inputs, file=file, title=source, source=source)


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
    except ValueError as error:
        raise InputError(str(error)) from error
    pixels = np.clip(np.rint(exact), 0, 255).astype(np.uint8)
    # A tenth of a gray level is far more than float32 loses, and far less than made-up pixels would differ by.
    return pixels if np.abs(exact - pixels).max(initial=0) < 0.1 else None


def with_file(sample: Sample, preprocessing: str) -> Sample:
    """Return the sample with a PNG file of its pixels, if it has no file and was made of pixels."""
    try:
        pixels = pixels_of(sample, preprocessing) if sample.file is None else None
    except InputError:  # a preprocessing that cannot be undone here
        return sample
    return sample if pixels is None else replace(sample, file=png(pixels), exact=True)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file of pixels, uint8 [H, W, 1 or 3]."""
    content = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(content, "PNG")
    return content.getvalue()
