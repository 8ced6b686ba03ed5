"""The two halves that signatures are made of: how a request becomes the model's inputs, and what it is answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from signatures.contract import names
from signatures.guards import guard_inputs, k_of_each_example
from signatures.head import rank_top_k, sparsify_top_k
from signatures.image_decoding import decode_images
from signatures.preprocessing import preprocess

Tensors: TypeAlias = dict[str, tf.Tensor]
Specs: TypeAlias = Mapping[str, tf.TensorSpec]
Decoder: TypeAlias = Callable[[tf.Tensor], tf.Tensor]

# How many pictures of one request are in memory, decoded, before they are resized.
_DECODED_AT_ONCE = 4


@dataclass(frozen=True)
class InputForm:
    """One way to send examples.

    Attributes:
        inputs: what a request holds, by name.
        read: from a request's tensors, each of any shape, to the model's inputs and k, int32 [B].
        defaults: what the server fills in where a request leaves an input out.
    """

    inputs: Specs
    read: Callable[[Tensors], tuple[list[tf.Tensor], tf.Tensor]]
    defaults: Mapping[str, tf.Tensor]


@dataclass(frozen=True)
class OutputForm:
    """One way to answer.

    Attributes:
        outputs: what an answer holds, by name.
        write: from dense probabilities [B, N] and k [B] to an answer.
    """

    outputs: Specs
    write: Callable[[tf.Tensor, tf.Tensor], Tensors]


@dataclass(frozen=True)
class Pictures:
    """What must be known of an image model's pictures to take them as files.

    Attributes:
        preprocessing: how pixels from 0 to 255 become the model's input: one of `names.PREPROCESSINGS`.
        max_pixels: width times height of the largest picture that is decoded.
    """

    preprocessing: str
    max_pixels: int = 64_000_000


def tensors_form(inputs: Specs, id_bounds: Mapping[str, int], default_k: int) -> InputForm:
    """The model's own inputs, and k."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = guard_inputs(received, inputs, id_bounds)
        return tensors, k_of_each_example(received[names.K], tensors[0])

    return InputForm({**inputs, names.K: tf.TensorSpec(None, tf.int32)}, read, _default(default_k))


def tensors_without_k_form(inputs: Specs, id_bounds: Mapping[str, int], fixed_k: int) -> InputForm:
    """The model's own inputs alone, for callers that cannot leave k out: REST, and the server's own batching."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = guard_inputs(received, inputs, id_bounds)
        return tensors, k_of_each_example(tf.constant(fixed_k), tensors[0])

    return InputForm(inputs, read, {})


def encoded_images_form(decode: Decoder, default_k: int) -> InputForm:
    """JPEG or PNG files, and k."""

    def read(received: Tensors) -> tuple[list[tf.Tensor], tf.Tensor]:
        tensors = [decode(received[names.ENCODED_IMAGES])]
        return tensors, k_of_each_example(received[names.K], tensors[0])

    inputs = {names.ENCODED_IMAGES: tf.TensorSpec([None], tf.string), names.K: tf.TensorSpec(None, tf.int32)}
    return InputForm(inputs, read, _default(default_k))


def examples_form(inputs: Specs, id_bounds: Mapping[str, int], decode: Decoder | None, default_k: int) -> InputForm:
    """Serialized `tf.Example`s, as the Classify API sends: a picture's file or the model's inputs, and perhaps k."""
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
                {name: tf.cast(parsed[name], spec.dtype) for name, spec in inputs.items()}, inputs, id_bounds
            )
        # Clamped before it is narrowed, so that no large k wraps around.
        k = tf.cast(tf.clip_by_value(parsed[names.K], 0, tf.int32.max), tf.int32)
        return tensors, k

    return InputForm({names.EXAMPLES: tf.TensorSpec([None], tf.string)}, read, {})


def example_features(inputs: Specs, *, encoded_images: bool) -> dict[str, tf.io.FixedLenFeature]:
    """What a tf.Example holds beside k: a picture's file, or the model's inputs."""
    if encoded_images:
        return {names.IMAGE_FEATURE: tf.io.FixedLenFeature([], tf.string)}
    return {name: tf.io.FixedLenFeature(spec.shape[1:], _in_example(spec.dtype)) for name, spec in inputs.items()}


def decoder(images: tf.TensorSpec, pictures: Pictures) -> Decoder:
    """Return a function that decodes picture files, [B], into the model's input; all signatures share it."""
    _, height, width, channels = images.shape

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        pixels = decode_images(
            encoded, height, width, channels, pictures.max_pixels, parallel_iterations=_DECODED_AT_ONCE
        )
        return tf.cast(preprocess(pixels, pictures.preprocessing), images.dtype)

    function: Decoder = tf.function(decode, input_signature=[tf.TensorSpec(None, tf.string)], autograph=False)
    return function


def probabilities_form(labels: Sequence[str]) -> OutputForm:
    """The sparsified vector."""
    return OutputForm(
        {names.PROBABILITIES: tf.TensorSpec([None, len(labels)], tf.float32)},
        lambda dense, k: {names.PROBABILITIES: sparsify_top_k(dense, k)},
    )


def places_form(labels: Sequence[str]) -> OutputForm:
    """Only what was kept: index, score and label of each place."""

    def write(dense: tf.Tensor, k: tf.Tensor) -> Tensors:
        top = rank_top_k(dense, k)
        return {
            names.INDICES: tf.where(top.kept, top.indices, names.NO_INDEX),
            names.SCORES: tf.where(top.kept, top.scores, names.NO_SCORE),
            names.LABELS: tf.where(top.kept, tf.gather(tf.constant(labels), top.indices), names.NO_LABEL),
        }

    places = tf.TensorShape([None, None])
    return OutputForm(
        {
            names.INDICES: tf.TensorSpec(places, tf.int32),
            names.SCORES: tf.TensorSpec(places, tf.float32),
            names.LABELS: tf.TensorSpec(places, tf.string),
        },
        write,
    )


def classes_form(labels: Sequence[str]) -> OutputForm:
    """The same as the Classify API names it."""
    places = places_form(labels)

    def write(dense: tf.Tensor, k: tf.Tensor) -> Tensors:
        answer = places.write(dense, k)
        return {names.CLASSES: answer[names.LABELS], names.SCORES: answer[names.SCORES]}

    outputs = {names.CLASSES: places.outputs[names.LABELS], names.SCORES: places.outputs[names.SCORES]}
    return OutputForm(outputs, write)


def _default(k: int) -> Mapping[str, tf.Tensor]:
    """A default that reaches the SignatureDef: a tensor. An int would be dropped without a word."""
    return {names.K: tf.constant(k, tf.int32)}


def _in_example(dtype: tf.DType) -> tf.DType:
    """The type of a `tf.Example`'s list that holds such numbers."""
    if dtype == tf.string:
        return tf.string
    return tf.int64 if dtype.is_integer or dtype.is_bool else tf.float32
