"""The first half of a signature: how a request becomes the model's inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from signatures.contract import names
from signatures.guards import guard_inputs, k_of_each_example
from signatures.image_decoding import decode_images
from signatures.output_forms import Specs, Tensors
from signatures.preprocessing import preprocess

Decoder: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

# How many pictures of one request are in memory, decoded, before they are resized.
_DECODED_AT_ONCE = 4

_WHITE = 255


@dataclass(frozen=True)
class InputForm:
    """One way to send examples.

    Attributes:
        inputs: the declared dtype and shape of each input of a request, by name.
        read: turns a request's tensors, each of any shape, into the model's inputs and k, int32 [B]. It must refuse
            what does not fit the declared shapes: see `signatures.guards`.
        defaults: what the server fills in where a request leaves an input out.
        combine: where `read` makes several examples of each one, turns the model's scores of these into one row of
            scores per example, float32 [B, N].
    """

    inputs: Specs
    read: Callable[[Tensors], tuple[list[tf.Tensor], tf.Tensor]]
    defaults: Mapping[str, tf.Tensor]
    combine: Callable[[tf.Tensor], tf.Tensor] = tf.identity


@dataclass(frozen=True)
class ImageDecoding:
    """How image files become an image model's input.

    Attributes:
        preprocessing: how pixels from 0 to 255 become the model's input: one of `names.PREPROCESSINGS`.
        max_pixels: width times height of the largest image that is decoded.
    """

    preprocessing: str
    max_pixels: int = 64_000_000


def tensors_form(inputs: Specs, id_bounds: Mapping[str, int], default_k: int) -> InputForm:
    """Take the model's own inputs, and k."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = guard_inputs(received, inputs, id_bounds)
        return tensors, k_of_each_example(received[names.K], tensors[0])

    return InputForm({**inputs, names.K: tf.TensorSpec(None, tf.int32)}, read, _default(default_k))


def tensors_without_k_form(inputs: Specs, id_bounds: Mapping[str, int], fixed_k: int) -> InputForm:
    """Take the model's own inputs alone, for callers that cannot leave k out: REST, and the server's own batching."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = guard_inputs(received, inputs, id_bounds)
        return tensors, k_of_each_example(tf.constant(fixed_k), tensors[0])

    return InputForm(inputs, read, {})


def encoded_images_form(decode: Decoder, default_k: int) -> InputForm:
    """Take JPEG or PNG files, and k."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = [decode(received[names.ENCODED_IMAGES])]
        return tensors, k_of_each_example(received[names.K], tensors[0])

    inputs = {names.ENCODED_IMAGES: tf.TensorSpec([None], tf.string), names.K: tf.TensorSpec(None, tf.int32)}
    return InputForm(inputs, read, _default(default_k))


def examples_form(inputs: Specs, id_bounds: Mapping[str, int], decode: Decoder | None, default_k: int) -> InputForm:
    """Take serialized `tf.Example`s, as the Classify API sends: an image file or the model's inputs, and perhaps k."""
    features = {
        names.K: tf.io.FixedLenFeature([], tf.int64, default_k),
        **example_features(inputs, encoded_images=decode is not None),
    }

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        examples = tf.ensure_shape(received[names.EXAMPLES], [None])
        parsed = tf.io.parse_example(examples, features)
        if decode:
            tensors = [decode(parsed[names.IMAGE_FEATURE])]
        else:
            tensors = guard_inputs(
                {name: _narrowed(name, parsed[name], spec.dtype) for name, spec in inputs.items()}, inputs, id_bounds
            )
        # Clamped before it is narrowed, so that no large k wraps around.
        k = tf.cast(tf.clip_by_value(parsed[names.K], 0, tf.int32.max), tf.int32)
        return tensors, k

    return InputForm({names.EXAMPLES: tf.TensorSpec([None], tf.string)}, read, {})


def example_features(inputs: Specs, *, encoded_images: bool) -> dict[str, tf.io.FixedLenFeature]:
    """Return what a tf.Example holds beside k: an image file, or the model's inputs."""
    if encoded_images:
        return {names.IMAGE_FEATURE: tf.io.FixedLenFeature([], tf.string)}
    return {name: tf.io.FixedLenFeature(spec.shape[1:], _in_example(spec.dtype)) for name, spec in inputs.items()}


def decoder(images: tf.TensorSpec, decoding: ImageDecoding) -> Decoder:
    """Return a function that decodes image files, [B], into the model's input. It is traced once for all signatures.

    Raises:
        ValueError: when the input's type cannot hold pixels as the preprocessing makes them.
    """
    _, height, width, channels = images.shape
    _check_pixels(images.dtype, decoding.preprocessing)

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        pixels = decode_images(
            encoded, height, width, channels, decoding.max_pixels, parallel_iterations=_DECODED_AT_ONCE
        )
        values = preprocess(pixels, decoding.preprocessing)
        return tf.cast(tf.round(values) if images.dtype.is_integer else values, images.dtype)

    function: Decoder = tf.function(decode, input_signature=[tf.TensorSpec(None, tf.string)], autograph=False)
    return function


def _check_pixels(dtype: tf.DType, preprocessing: str) -> None:
    if dtype.is_integer and preprocessing != "none":
        raise ValueError(
            f"preprocessing {preprocessing!r} scales pixels to fractions, which the model's {dtype.name} input cannot "
            "hold; use none, and let the model scale them"
        )
    if not dtype.is_floating and (not dtype.is_integer or dtype.max < _WHITE):
        raise ValueError(
            f"the model's {dtype.name} input cannot hold pixels from 0 to {_WHITE}; leave out the preprocessing"
        )


def _narrowed(name: str, values: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Cast the numbers of a tf.Example to the model's type; an integer that it cannot hold would become another."""
    if not dtype.is_integer or dtype == tf.int64:
        return tf.cast(values, dtype)
    low, high = max(dtype.min, tf.int64.min), min(dtype.max, tf.int64.max)
    fits = tf.debugging.Assert(
        tf.reduce_all(tf.logical_and(values >= low, values <= high)),
        [f"{name} must hold numbers from {low} to {high}; received:", values],
    )
    with tf.control_dependencies([fits]):
        return tf.cast(values, dtype)


def _default(k: int) -> Mapping[str, tf.Tensor]:
    """Return a default that reaches the SignatureDef: a tensor. An int would be dropped without a word."""
    return {names.K: tf.constant(k, tf.int32)}


def _in_example(dtype: tf.DType) -> tf.DType:
    """The type of a `tf.Example`'s list that holds such numbers."""
    if dtype == tf.string:
        return tf.string
    return tf.int64 if dtype.is_integer or dtype.is_bool else tf.float32
