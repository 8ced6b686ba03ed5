"""Sample inputs: what an export is validated with, and what its golden and warm-up records are made of."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image

from exporter.errors import ExportError, reason
from exporter.sources.model_inputs import ModelInputs
from signatures import ImageDecoding
from signatures.batching import variable_dimensions
from signatures.contract import names
from signatures.input_forms import Decoder, decoder


@dataclass(frozen=True)
class Samples:
    """S examples of what a model is asked.

    Attributes:
        inputs: the model's inputs by name, [S, ...] each.
        images: the same examples as JPEG or PNG files, where they come from such.
        truth: bool [S, N], the labels that are true, where these are known.
        known: bool [S], whether they are known of each sample; of all by default, if there is a truth.
        made_up: whether they are noise: good to compare two ways of computing one answer, and for nothing else.
        stand_ins: made-up pictures for the signatures that take picture files, where an image model got other samples.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    images: Sequence[bytes] = ()
    truth: npt.NDArray[np.bool_] | None = None
    known: npt.NDArray[np.bool_] | None = None
    made_up: bool = False
    stand_ins: "Samples | None" = None

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def fitted(self, inputs: ModelInputs) -> "Samples":
        """The same examples in the types that a model declares, as no server takes others.

        Raises:
            ExportError: when the model has other inputs, or inputs of other shapes, or its types cannot hold a value.
        """
        if set(self.inputs) != set(inputs.specs):
            raise ExportError(f"The samples hold {sorted(self.inputs)}; the model's inputs are {sorted(inputs.specs)}.")
        arrays = {name: _fitted(name, np.asarray(self.inputs[name]), spec) for name, spec in inputs.specs.items()}
        if len(sizes := {len(array) for array in arrays.values()}) > 1:
            raise ExportError(f"The samples hold {sorted(sizes)} examples; every input needs as many.")
        return replace(self, inputs=arrays)

    def repeated(self, count: int) -> "Samples":
        """Exactly `count` examples: the first ones, again and again if need be."""
        return self.chosen(np.arange(count) % len(self))

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
        return self.chosen(np.arange(len(self))[start:stop])

    def chosen(self, places: npt.NDArray[np.intp]) -> "Samples":
        """The examples at these places, in this order."""
        return replace(
            self,
            inputs={name: array[places] for name, array in self.inputs.items()},
            images=[self.images[place] for place in places] if self.images else (),
            truth=None if self.truth is None else self.truth[places],
            known=None if self.known is None else self.known[places],
        )

    def asked_of(self, key: str) -> "Samples":
        """As many examples in the form that a signature takes: pictures, where it takes files."""
        if self.stand_ins is None or key not in names.PICTURE_SIGNATURES:
            return self
        return self.stand_ins.repeated(len(self))

    def batches(self, size: int) -> Iterator["Samples"]:
        """All examples in order, `size` at a time; the last time what is left."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


def samples_of_pictures(
    files: Sequence[bytes], inputs: ModelInputs, decoding: ImageDecoding, sources: Sequence[str] = ()
) -> Samples:
    """Make samples of picture files, decoded as the exported model decodes them.

    Args:
        files: the files' bytes.
        inputs: what the model takes.
        decoding: how image files become that.
        sources: what a message calls each file.

    Raises:
        ExportError: when the model takes no pictures, or not with this preprocessing, or a file is not an image.
    """
    if len(inputs.specs) != 1 or (spec := next(iter(inputs.specs.values()))).shape.rank != 4:
        raise ExportError("The samples are pictures, but the model's input is not: give samples as .npz.")
    try:
        decode = decoder(spec, decoding)
        # One by one, to know which one is broken.
        named = zip(files, sources or ["A made-up picture"] * len(files), strict=True)
        images = [_decoded(decode, file, source) for file, source in named]
    except ValueError as error:
        raise ExportError(f"The model cannot take picture files: {error}.") from error
    return Samples({names.IMAGES: np.concatenate(images)}, tuple(files))


def made_up_samples(inputs: ModelInputs, pictures: ImageDecoding | None, count: int = 8) -> Samples:
    """Make up samples where there are none: seeded noise, the same every time.

    Of what a lookup does not know, one is as good as another to a model, and as what pads it. So words are mostly some
    that the model knows. A dimension of no declared size gets 32.

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
        bound, values = inputs.id_bounds.get(name), inputs.values.get(name)
        if bound or spec.dtype.is_integer:
            ids = np.arange(bound or 2) if values is None else np.array(values, np.int64)
            arrays[name] = generator.choice(_held(ids, spec), shape).astype(spec.dtype.as_numpy_dtype)
        elif spec.dtype.is_floating:
            arrays[name] = generator.random(shape, np.float32).astype(spec.dtype.as_numpy_dtype)
        elif spec.dtype == tf.string:
            words = [f"word{number}" for number in range(100)] if values is None else values
            arrays[name] = generator.choice(np.array(words, object), shape)
        elif spec.dtype == tf.bool:
            arrays[name] = generator.integers(0, 2, shape).astype(bool)
        else:
            raise ExportError(f"No samples can be made up for {name!r} of type {spec.dtype.name}: pass --samples.")
    return Samples(arrays, made_up=True)


def _decoded(decode: Decoder, file: bytes, source: str) -> npt.NDArray[Any]:
    try:
        decoded: npt.NDArray[Any] = decode(tf.constant([file])).numpy()
    except tf.errors.InvalidArgumentError as error:
        # The graph counts the pictures of a request, and this is the only one.
        said = reason(error).replace("image 0", "it")
        raise ExportError(f"{source} cannot be decoded: {said}.") from error
    return decoded


def _held(numbers: npt.NDArray[np.int64], spec: tf.TensorSpec) -> npt.NDArray[np.int64]:
    """Those of the numbers that a type can hold."""
    held: npt.NDArray[np.int64] = numbers[(numbers >= spec.dtype.min) & (numbers <= spec.dtype.max)]
    return held


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def _fitted(name: str, array: npt.NDArray[Any], spec: tf.TensorSpec) -> npt.NDArray[Any]:
    if not spec.shape.is_compatible_with(array.shape):
        raise ExportError(f"The samples hold {name} of shape {list(array.shape)}; the model takes {spec.shape}.")
    text = array.dtype.kind in "OSU"
    if text == (spec.dtype == tf.string):
        wanted = array.astype(object if text else spec.dtype.as_numpy_dtype)
        if text or spec.dtype.is_floating or np.array_equal(wanted, array):
            return wanted
    kind = "string" if text else array.dtype.name
    raise ExportError(
        f"The samples hold {name} of type {kind}, with values that {spec.dtype.name}, which the model takes, cannot "
        "hold: convert them."
    )
