"""The signatures of a served model: every input form with every output form, over one backbone."""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf

from signatures.batching import Batching, batched
from signatures.contract import names
from signatures.guards import guard_inputs
from signatures.input_forms import (
    ImageDecoding,
    InputForm,
    decoder,
    encoded_images_form,
    examples_form,
    tensors_form,
    tensors_without_k_form,
)
from signatures.output_forms import OUTPUT_FORMS, OutputForm, Specs, Tensors, classes_output, probabilities_output

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"


@dataclass(frozen=True)
class Signature:
    """One signature: a traced function, and what a server's metadata says of it.

    The function takes tensors of any shape (see `signatures.guards`), so the shapes are declared here.

    Attributes:
        key: the name it is called by.
        function: a `tf.function` with an `input_signature`, that returns a dict of tensors.
        inputs: the declared shape and dtype of each input.
        outputs: the declared shape and dtype of each output.
        method: the API it answers to, as in a SignatureDef's `method_name`.
    """

    key: str
    function: Any
    inputs: Specs
    outputs: Specs
    method: str = PREDICT_METHOD


@dataclass(frozen=True)
class Identity:
    """What a served model says of itself when `export_info` is asked.

    Attributes:
        export_id: gives a scalar string tensor, called while `export_info` is traced.
        model: the name it was exported as.
        k: the default k.
        labels: the N labels, by index.
        preprocessing: how pixels become inputs, or None where that is not known.
        golden_digest: the SHA-256 of the golden records' file, in hexadecimal.
    """

    export_id: Callable[[], tf.Tensor]
    model: str
    k: int
    labels: Sequence[str]
    preprocessing: str | None
    golden_digest: str


@dataclass(frozen=True)
class Backbone:
    """What computes the dense probabilities, and what it must be given.

    Attributes:
        probabilities: computes float32 [B, N] of the tensors named in `inputs`, taken in that order.
        inputs: the model's inputs, [B, ...] each.
        id_bounds: for an input that indexes an embedding, how many ids that has.
        image_decoding: set for an image model whose preprocessing is known; it then takes image files too.
        batching: set where requests share a run of the backbone.
        jit_compile: whether XLA compiles it; a server then needs a flag to run it at all.
    """

    probabilities: Callable[..., tf.Tensor]
    inputs: Specs
    id_bounds: Mapping[str, int] = field(default_factory=dict)
    image_decoding: ImageDecoding | None = None
    batching: Batching | None = None
    jit_compile: bool = False

    def traced(self, model: str) -> Callable[..., tf.Tensor]:
        """Return the function that every signature calls. It is traced once; a batching op carries the model's name."""
        specs = list(self.inputs.values())

        def backbone(*tensors: tf.Tensor) -> tf.Tensor:
            return self.probabilities(*tensors)

        backbone.__name__ = names.BACKBONE
        function: Callable[..., tf.Tensor] = tf.function(
            backbone, input_signature=specs, autograph=False, jit_compile=True if self.jit_compile else None
        )
        if self.batching is None:
            return function
        return batched(function, self.inputs, self.batching, f"{model}_{names.BACKBONE}")


def compose_signatures(
    backbone: Backbone,
    identity: Identity,
    keys: Sequence[str] | None = None,
    own: Mapping[str, tuple[InputForm, OutputForm]] | None = None,
) -> list[Signature]:
    """Build the signatures over one backbone.

    Args:
        backbone: what computes the dense probabilities.
        identity: what `export_info` answers; its labels and its k are also those of the other signatures.
        keys: the signatures wanted, by default all that the model can have. `serving_default` and `export_info` are
            always among them: nothing can be called or checked without.
        own: signatures of the user's, by key, each an input form and an output form.

    Raises:
        ValueError: when a key is wanted that the model cannot have, an own signature has a key of ours, or requests
            cannot be batched as asked.

    Example:
        >>> backbone = Backbone(model, {"images": tf.TensorSpec([None, 32, 32, 1])})
        >>> [signature.key for signature in compose_signatures(backbone, identity)]
        ['serving_default', 'top_k', 'fixed_k', 'classify', 'export_info']
    """
    table = _standard_forms(backbone, identity)
    if unknown := [key for key in keys or () if key not in table and key != names.EXPORT_INFO]:
        raise ValueError(f"This model can have no signature {unknown[0]!r}: it can have {', '.join(table)}.")
    if taken := sorted({*table, names.EXPORT_INFO} & set(own or {})):
        raise ValueError(f"{taken[0]!r} is a signature that every export has: give yours another name.")
    traced = backbone.traced(identity.model)
    # Beside a batched backbone everything else is the CPU's work (see `signatures.batching`).
    device = "/CPU:0" if backbone.batching else None

    def compose(key: str, form: InputForm, answer: OutputForm, method: str) -> Signature:
        def call(received: Tensors) -> Tensors:
            with tf.device(device):
                inputs, k = form.read(received)
                return answer.write(form.combine(traced(*inputs)), k)

        return Signature(key, _trace(call, form.inputs, form.defaults), form.inputs, answer.outputs, method)

    wanted = {key: forms for key, forms in table.items() if not keys or key in keys or key == names.SERVING_DEFAULT}
    wanted |= {key: (*forms, PREDICT_METHOD) for key, forms in (own or {}).items()}
    return [*(compose(key, *forms) for key, forms in wanted.items()), _export_info(identity)]


def _standard_forms(backbone: Backbone, identity: Identity) -> dict[str, tuple[InputForm, OutputForm, str]]:
    """Return the input form, the output form and the method of every signature that a model can have, by key."""
    k, labels, inputs = identity.k, identity.labels, backbone.inputs
    tensors = tensors_form(inputs, backbone.id_bounds, k)
    without_k = tensors_without_k_form(inputs, backbone.id_bounds, k)
    decode = None
    if backbone.image_decoding:
        (images,) = inputs.values()
        decode = decoder(images, backbone.image_decoding)
    outputs = {name: form(labels) for name, form in OUTPUT_FORMS.items()}
    table = {name or names.SERVING_DEFAULT: (tensors, output, PREDICT_METHOD) for name, output in outputs.items()}
    table[names.FIXED_K] = (without_k, probabilities_output(labels), PREDICT_METHOD)
    # A feature of a tf.Example has a declared shape.
    if decode or all(spec.shape[1:].is_fully_defined() for spec in inputs.values()):
        examples = examples_form(inputs, backbone.id_bounds, decode, k)
        table[names.CLASSIFY] = (examples, classes_output(labels), CLASSIFY_METHOD)
    if decode:
        encoded = encoded_images_form(decode, k)
        for name, output in outputs.items():
            table["_".join(filter(None, (names.ENCODED_IMAGES, name)))] = (encoded, output, PREDICT_METHOD)
    return table


def _export_info(identity: Identity) -> Signature:
    """Answer who is served, once for each element of `probe`.

    Server-side batching wants at least one input, and outputs as long as it: hence the probe.
    """
    inputs = {names.PROBE: tf.TensorSpec([None], tf.int32)}

    def call(received: Tensors) -> Tensors:
        (probe,) = guard_inputs(received, inputs, {})
        values = {
            names.EXPORT_ID: identity.export_id(),
            names.MODEL: tf.constant(identity.model),
            names.K: tf.constant(identity.k, tf.int32),
            names.LABELS: tf.constant(json.dumps(list(identity.labels))),
            names.PREPROCESSING: tf.constant(json.dumps(identity.preprocessing)),
            names.GOLDEN_DIGEST: tf.constant(identity.golden_digest),
        }
        return {name: tf.fill(tf.shape(probe), value) for name, value in values.items()}

    strings = (names.EXPORT_ID, names.MODEL, names.LABELS, names.PREPROCESSING, names.GOLDEN_DIGEST)
    outputs = {name: tf.TensorSpec([None], tf.string) for name in strings}
    outputs[names.K] = tf.TensorSpec([None], tf.int32)
    function = _trace(call, inputs, {names.PROBE: tf.constant([0], tf.int32)})
    return Signature(names.EXPORT_INFO, function, inputs, outputs)


def _trace(call: Callable[[Tensors], Tensors], inputs: Specs, defaults: Mapping[str, tf.Tensor]) -> Any:
    """Make a `tf.function` of `call` whose parameters are called as the inputs are, each of any shape.

    The names and the defaults of a SignatureDef are those of the traced function's parameters, and the parameters here
    are not known until a model is: so they are declared through `__signature__`.
    """

    def function(*tensors: tf.Tensor) -> Tensors:
        return call(dict(zip(inputs, tensors, strict=True)))

    function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(name, inspect.Parameter.empty)
            )
            for name in inputs
        ]
    )
    any_shape = [tf.TensorSpec(None, spec.dtype, name=name) for name, spec in inputs.items()]
    return tf.function(function, input_signature=any_shape, autograph=False)
