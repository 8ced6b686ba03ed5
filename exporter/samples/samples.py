"""Sample inputs, for validating an export and for its golden and warm-up records."""

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
    """S examples of a model's inputs.

    Attributes:
        inputs: the model's inputs by name, each [S, ...].
        images: the same examples as JPEG or PNG files, if they were read from image files.
        truth: bool [S, N], which labels are true; None if that is unknown for all samples.
        known: bool [S], whether the truth of each sample is known; None if `truth` covers all samples.
        made_up: whether they are noise, which can only show that two ways of computing an answer agree.
        stand_ins: made-up images for the signatures that take image files, if `images` is empty.
        left_out: how many other examples the file holds, which have other shapes.

    Raises:
        ExportError: from `fitted`, when the samples do not fit a model.

    Example:
        >>> samples = Samples({"images": np.zeros((3, 4, 4, 1), np.float32)}, truth=np.eye(3, dtype=bool))
        >>> len(samples), len(samples.rows(0, 2))
        (3, 2)
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    images: Sequence[bytes] = ()
    truth: npt.NDArray[np.bool_] | None = None
    known: npt.NDArray[np.bool_] | None = None
    made_up: bool = False
    stand_ins: "Samples | None" = None
    left_out: int = 0

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values()), ()))

    def fitted(self, inputs: ModelInputs) -> "Samples":
        """Return the same examples in the types that a model declares; servers take no others.

        Raises:
            ExportError: when the model has other inputs or shapes, or its types cannot hold a value.
        """
        if set(self.inputs) != set(inputs.specs):
            raise ExportError(f"The samples hold {sorted(self.inputs)}; the model's inputs are {sorted(inputs.specs)}.")
        arrays = {name: _fit(name, np.asarray(self.inputs[name]), spec) for name, spec in inputs.specs.items()}
        if len(sizes := {len(array) for array in arrays.values()}) > 1:
            raise ExportError(f"The samples hold {sorted(sizes)} examples; every input needs the same number.")
        return replace(self, inputs=arrays)

    def repeated(self, count: int) -> "Samples":
        """Return exactly `count` examples: the first ones, repeated as needed."""
        return self.chosen(np.arange(count) % len(self))

    def of_length(self, length: int, specs: Mapping[str, tf.TensorSpec]) -> "Samples":
        """Return the same examples with every variable dimension cut or repeated to a length."""

        def resized(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
            for dimension in variable_dimensions(specs[name]):
                array = array.take(np.arange(length) % array.shape[dimension], axis=dimension)
            return array

        return replace(self, inputs={name: resized(name, array) for name, array in self.inputs.items()})

    def longest(self, specs: Mapping[str, tf.TensorSpec]) -> int:
        """Return the largest size of a variable dimension, or 0 if there is no such dimension."""
        sizes = (self.inputs[name].shape[d] for name, spec in specs.items() for d in variable_dimensions(spec))
        return max(sizes, default=0)

    def rows(self, start: int, stop: int) -> "Samples":
        """Return the examples from `start` up to `stop`."""
        return self.chosen(np.arange(len(self))[start:stop])

    def chosen(self, places: npt.NDArray[np.intp]) -> "Samples":
        """Return the examples at these places, in this order."""
        return replace(
            self,
            inputs={name: array[places] for name, array in self.inputs.items()},
            images=[self.images[place] for place in places] if self.images else (),
            truth=None if self.truth is None else self.truth[places],
            known=None if self.known is None else self.known[places],
        )

    def asked_of(self, key: str) -> "Samples":
        """Return the examples for a signature: these, or as many stand-ins if it takes image files that these lack."""
        if self.stand_ins is None or key not in names.IMAGE_SIGNATURES:
            return self
        return self.stand_ins.repeated(len(self))

    def batches(self, size: int) -> Iterator["Samples"]:
        """Yield all examples in order, `size` at a time and the rest last."""
        for start in range(0, len(self), size):
            yield self.rows(start, start + size)


def samples_of_images(
    files: Sequence[bytes], inputs: ModelInputs, decoding: ImageDecoding, sources: Sequence[str] = ()
) -> Samples:
    """Make samples from image files, decoded as the exported model decodes them.

    Args:
        files: the files' bytes.
        inputs: what the model takes.
        decoding: how image files become the model's input.
        sources: the name of each file for error messages.

    Raises:
        ExportError: when the model takes no images, or not with this preprocessing, or a file is not an image.
    """
    (name, spec), *others = inputs.specs.items()
    if others or spec.shape.rank != 4:
        raise ExportError("The samples are images, but the model takes something else: pass samples as a .npz file.")
    try:
        decode = decoder(spec, decoding)
        # One by one, so that an error names the broken one.
        named = zip(files, sources or ["A made-up image"] * len(files), strict=True)
        images = [_decode(decode, file, source) for file, source in named]
    except ValueError as error:
        raise ExportError(f"The model cannot take image files: {error}.") from error
    return Samples({name: np.concatenate(images)}, tuple(files))


def made_up_samples(inputs: ModelInputs, decoding: ImageDecoding | None, count: int = 8) -> Samples:
    """Make up samples: seeded noise, the same every time.

    A model cannot tell words outside its vocabulary from each other or from padding, so most made-up words are in
    its vocabulary. A variable dimension gets the size 32.

    Raises:
        ExportError: when an input has a type that noise cannot be made for.
    """
    generator = np.random.default_rng(0)
    if decoding:
        _, height, width, channels = next(iter(inputs.specs.values())).shape
        noise = generator.integers(0, 256, (count, height, width, channels), np.uint8)
        files = [_png(pixels) for pixels in noise]
        return Samples(samples_of_images(files, inputs, decoding).inputs, files, made_up=True)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, spec in inputs.specs.items():
        shape = [count, *(size or 32 for size in spec.shape.as_list()[1:])]
        bound, values = inputs.id_bounds.get(name), inputs.values.get(name)
        if bound or spec.dtype.is_integer:
            ids = np.arange(bound or 2) if values is None else np.array(values, np.int64)
            arrays[name] = generator.choice(_representable(ids, spec), shape).astype(spec.dtype.as_numpy_dtype)
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


def _decode(decode: Decoder, file: bytes, source: str) -> npt.NDArray[Any]:
    try:
        decoded: npt.NDArray[Any] = decode(tf.constant([file])).numpy()
    except tf.errors.InvalidArgumentError as error:
        # The graph numbers the images of a request, and this is the only one.
        problem = reason(error).replace("image 0", "it")
        raise ExportError(f"{source} cannot be decoded: {problem}.") from error
    return decoded


def _representable(numbers: npt.NDArray[np.int64], spec: tf.TensorSpec) -> npt.NDArray[np.int64]:
    """Return those of the numbers that the input's type can hold."""
    fits: npt.NDArray[np.bool_] = (numbers >= spec.dtype.min) & (numbers <= spec.dtype.max)
    return numbers[fits]


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def _fit(name: str, array: npt.NDArray[Any], spec: tf.TensorSpec) -> npt.NDArray[Any]:
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
