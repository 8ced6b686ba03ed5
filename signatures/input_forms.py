"""The first half of a signature: how a request becomes the model's inputs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import tensorflow as tf

from signatures.contract import names
from signatures.guards import finite, guard_inputs, one_for_each_example
from signatures.image_decoding import decode_images
from signatures.output_forms import Limits, Specs, Tensors
from signatures.preprocessing import preprocess

Decoder: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

# How many decoded images of one request are in memory at once, before they are resized.
_DECODED_AT_ONCE = 4

_WHITE = 255

# The inputs that limit what an answer keeps.
_LIMITS: Specs = {names.K: tf.TensorSpec(None, tf.int32), names.MIN_SCORE: tf.TensorSpec(None, tf.float32)}


@dataclass(frozen=True)
class InputForm:
    """One way to send examples.

    Attributes:
        inputs: the declared dtype and shape of each input of a request, by name.
        read: turns a request's tensors, each of any shape, into the model's inputs and the limits of each example. It
            must refuse tensors that do not fit the declared shapes: see `signatures.guards`.
        defaults: the values that the server fills in when a request leaves an input out.
        combine: if `read` makes several examples from each one, turns the model's scores for these into one row of
            scores per example, float32 [B, N].

    Example:
        >>> form = InputForm(
        ...     {"text": tf.TensorSpec([None], tf.string)},
        ...     lambda received: ([tf.strings.lower(received["text"])], Limits(tf.fill(tf.shape(received["text"]), 1))),
        ...     {},
        ... )
        >>> form.read({"text": tf.constant(["A Text"])})[0][0].numpy().tolist()
        [b'a text']
    """

    inputs: Specs
    read: Callable[[Tensors], tuple[list[tf.Tensor], Limits]]
    defaults: Mapping[str, tf.Tensor]
    combine: Callable[[tf.Tensor], tf.Tensor] = tf.identity


@dataclass(frozen=True)
class ImageDecoding:
    """How image files become an image model's input.

    Attributes:
        preprocessing: how pixels from 0 to 255 become the model's input: one of `names.PREPROCESSINGS`.
        max_pixels: width times height of the largest image that is decoded.

    Example:
        >>> ImageDecoding("unit", max_pixels=1_000_000).preprocessing
        'unit'
    """

    preprocessing: str
    max_pixels: int = 64_000_000


def tensors_form(
    inputs: Specs, id_bounds: Mapping[str, int], default_k: int, default_min_score: float = 0.0
) -> InputForm:
    """Return the form that takes the model's own inputs, k and min_score."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], Limits]:
        tensors = guard_inputs(received, inputs, id_bounds)
        return tensors, _limits(received, tensors[0])

    return InputForm({**inputs, **_LIMITS}, read, _defaults(default_k, default_min_score))


def encoded_images_form(decode: Decoder, default_k: int, default_min_score: float = 0.0) -> InputForm:
    """Return the form that takes JPEG or PNG files, k and min_score."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], Limits]:
        tensors = [decode(received[names.ENCODED_IMAGES])]
        return tensors, _limits(received, tensors[0])

    inputs = {names.ENCODED_IMAGES: tf.TensorSpec([None], tf.string), **_LIMITS}
    return InputForm(inputs, read, _defaults(default_k, default_min_score))


def without_limits(form: InputForm) -> InputForm:
    """Return the same form without k and min_score, for REST and the server's own batching: both need every input."""
    k = form.defaults[names.K]
    inputs = {name: spec for name, spec in form.inputs.items() if name not in _LIMITS}
    return replace(form, inputs=inputs, read=lambda received: form.read({**received, names.K: k}), defaults={})


def examples_form(
    inputs: Specs,
    id_bounds: Mapping[str, int],
    decode: Decoder | None,
    default_k: int,
    default_min_score: float = 0.0,
) -> InputForm:
    """Return the form that takes serialized `tf.Example`s of the Classify API: an image file or the inputs.

    An example may also have the features k and min_score.
    """
    features = {
        names.K: tf.io.FixedLenFeature([], tf.int64, default_k),
        names.MIN_SCORE: tf.io.FixedLenFeature([], tf.float32, default_min_score),
        **example_features(inputs, encoded_images=decode is not None),
    }

    def read(received: Tensors) -> tuple[list[tf.Tensor], Limits]:
        examples = tf.ensure_shape(received[names.EXAMPLES], [None])
        parsed = tf.io.parse_example(examples, features)
        if decode:
            tensors = [decode(parsed[names.IMAGE_FEATURE])]
        else:
            tensors = guard_inputs(
                {name: _narrowed(name, parsed[name], spec.dtype) for name, spec in inputs.items()}, inputs, id_bounds
            )
        # Clamp before the cast, so that a large k does not wrap around.
        k = tf.cast(tf.clip_by_value(parsed[names.K], 0, tf.int32.max), tf.int32)
        return tensors, Limits(k, finite(names.MIN_SCORE, parsed[names.MIN_SCORE]))

    return InputForm({names.EXAMPLES: tf.TensorSpec([None], tf.string)}, read, {})


def example_features(inputs: Specs, *, encoded_images: bool) -> dict[str, tf.io.FixedLenFeature]:
    """Return the features of a tf.Example besides its limits: an image file, or the model's inputs."""
    if encoded_images:
        return {names.IMAGE_FEATURE: tf.io.FixedLenFeature([], tf.string)}
    return {name: tf.io.FixedLenFeature(spec.shape[1:], _in_example(spec.dtype)) for name, spec in inputs.items()}


def decoder(images: tf.TensorSpec, decoding: ImageDecoding) -> Decoder:
    """Return a function that decodes image files, [B], into the model's input. It is traced once for all signatures.

    Raises:
        ValueError: if the input's type cannot hold the preprocessed pixels.
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
    """Cast the numbers of a tf.Example to the model's type, and refuse an integer that the type cannot hold."""
    if not dtype.is_integer or dtype == tf.int64:
        return tf.cast(values, dtype)
    low, high = max(dtype.min, tf.int64.min), min(dtype.max, tf.int64.max)
    fits = tf.debugging.Assert(
        tf.reduce_all(tf.logical_and(values >= low, values <= high)),
        [f"{name} must hold numbers from {low} to {high}; received:", values],
    )
    with tf.control_dependencies([fits]):
        return tf.cast(values, dtype)


def _limits(received: Tensors, example_input: tf.Tensor) -> Limits:
    """Return the limits of each example; a form that takes no min_score leaves it out."""
    k = one_for_each_example(names.K, received[names.K], example_input)
    if names.MIN_SCORE not in received:
        return Limits(k)
    min_score = one_for_each_example(names.MIN_SCORE, received[names.MIN_SCORE], example_input)
    return Limits(k, finite(names.MIN_SCORE, min_score))


def _defaults(k: int, min_score: float) -> Mapping[str, tf.Tensor]:
    """Return the defaults as tensors: Python numbers would be silently left out of the SignatureDef."""
    return {names.K: tf.constant(k, tf.int32), names.MIN_SCORE: tf.constant(min_score, tf.float32)}


def _in_example(dtype: tf.DType) -> tf.DType:
    """Return the type of the `tf.Example` list that holds such values."""
    if dtype == tf.string:
        return tf.string
    return tf.int64 if dtype.is_integer or dtype.is_bool else tf.float32
