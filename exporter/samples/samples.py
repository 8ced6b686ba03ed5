"""Sample inputs: what an export is proven with, and what its golden and warm-up records are made of."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from exporter.errors import ExportError
from exporter.sources.model_inputs import ModelInputs
from signatures import ImageDecoding
from signatures.batching import variable_dimensions
from signatures.contract import names
from signatures.input_forms import decoder


@dataclass(frozen=True)
class Samples:
    """S examples of what a model is asked.

    Attributes:
        inputs: the model's inputs by name, [S, ...] each.
        pictures: the same examples as JPEG or PNG files, where they come from such.
        truth: bool [S, N], the labels that are true, where these are known.
        made_up: whether they are noise: good to compare two ways of computing one answer, and for nothing else.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    pictures: Sequence[bytes] = ()
    truth: npt.NDArray[np.bool_] | None = None
    made_up: bool = False

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def repeated(self, count: int) -> "Samples":
        """Exactly `count` examples: the first ones, again and again if need be."""
        chosen = np.arange(count) % len(self)
        inputs = {name: array[chosen] for name, array in self.inputs.items()}
        truth = None if self.truth is None else self.truth[chosen]
        pictures = [self.pictures[int(row)] for row in chosen] if self.pictures else ()
        return Samples(inputs, pictures, truth, self.made_up)

    def of_length(self, length: int, specs: Mapping[str, tf.TensorSpec]) -> "Samples":
        """The same examples with every dimension of no declared size cut to a length, or repeated up to it."""

        def resized(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            for dimension in variable_dimensions(specs[name]):
                array = array.take(np.arange(length) % array.shape[dimension], axis=dimension)
            return array

        return replace(self, inputs={name: resized(name, array) for name, array in self.inputs.items()})

    def longest(self, specs: Mapping[str, tf.TensorSpec]) -> int:
        """The largest size of a dimension that has no declared size; 0 where every dimension has one."""
        sizes = (self.inputs[name].shape[d] for name, spec in specs.items() for d in variable_dimensions(spec))
        return max(sizes, default=0)

    def rows(self, start: int, stop: int) -> "Samples":
        """The examples from `start` up to `stop`."""
        truth = None if self.truth is None else self.truth[start:stop]
        inputs = {name: array[start:stop] for name, array in self.inputs.items()}
        return Samples(inputs, self.pictures[start:stop], truth, self.made_up)

    def batches(self, size: int) -> Iterator["Samples"]:
        """All examples in order, `size` at a time; the last time what is left."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


def samples_of_pictures(
    files: Sequence[bytes],
    inputs: ModelInputs,
    decoding: ImageDecoding,
    truth: npt.NDArray[np.bool_] | None = None,
) -> Samples:
    """Make samples of picture files, decoded as the exported model decodes them.

    Raises:
        ExportError: when the model takes no pictures, or a file is none.
    """
    if len(inputs.specs) != 1 or (spec := next(iter(inputs.specs.values()))).shape.rank != 4:
        raise ExportError("The samples are pictures, but the model's input is not: give samples as .npz.")
    try:
        images = decoder(spec, decoding)(tf.constant(list(files)))
    except tf.errors.InvalidArgumentError as error:
        raise ExportError(f"A sample cannot be decoded: {error.message}") from error
    return Samples({names.IMAGES: images.numpy()}, tuple(files), truth)


def made_up_samples(inputs: ModelInputs, pictures: ImageDecoding | None, count: int = 8) -> Samples:
    """Make up samples where there are none: seeded noise, the same every time.

    A dimension of no declared size gets 32.

    Raises:
        ExportError: for an input of a type that noise cannot be made for.
    """
    generator = np.random.default_rng(0)
    if pictures:
        _, height, width, channels = next(iter(inputs.specs.values())).shape
        noise = generator.integers(0, 256, (count, height, width, channels), np.uint8)
        files = [_png(pixels) for pixels in noise]
        return Samples(samples_of_pictures(files, inputs, pictures).inputs, files, made_up=True)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, spec in inputs.specs.items():
        shape = [count, *(size or 32 for size in spec.shape.as_list()[1:])]
        bound = inputs.id_bounds.get(name)
        if bound or spec.dtype.is_integer:
            arrays[name] = generator.integers(0, bound or 2, shape).astype(spec.dtype.as_numpy_dtype)
        elif spec.dtype.is_floating:
            arrays[name] = generator.random(shape, np.float32).astype(spec.dtype.as_numpy_dtype)
        elif spec.dtype == tf.string:
            words = np.array([f"word{number}" for number in range(100)], object)
            arrays[name] = generator.choice(words, shape)
        elif spec.dtype == tf.bool:
            arrays[name] = generator.integers(0, 2, shape).astype(bool)
        else:
            raise ExportError(f"No samples can be made up for {name!r} of type {spec.dtype.name}: pass --samples.")
    return Samples(arrays, made_up=True)


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()
