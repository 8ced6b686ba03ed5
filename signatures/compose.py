"""The signatures of a served model: every input form combined with every output form, over one backbone."""

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
    without_limits,
)
from signatures.output_forms import (
    OUTPUT_FORMS,
    Limits,
    OutputForm,
    Specs,
    Tensors,
    classes_output,
    dense_output,
    probabilities_output,
)

PREDICT_METHOD = "tensorflow/serving/predict"
CLASSIFY_METHOD = "tensorflow/serving/classify"


@dataclass(frozen=True)
class Signature:
    """One signature: a traced function, and what a server's metadata says about it.

    The function takes tensors of any shape (see `signatures.guards`), so the real shapes are declared here.

    Attributes:
        key: the name that requests use.
        function: a `tf.function` with an `input_signature` that returns a dict of tensors; None once it is exported.
        inputs: the declared shape and dtype of each input.
        outputs: the declared shape and dtype of each output.
        method: the API that it belongs to, as in a SignatureDef's `method_name`.

    Example:
        >>> fixed_k = compose_signatures(backbone, identity, keys=["fixed_k"])[1]
        >>> fixed_k.outputs["probabilities"]
        TensorSpec(shape=(None, 3), dtype=tf.float32, name=None)
    """

    key: str
    function: Any
    inputs: Specs
    outputs: Specs
    method: str = PREDICT_METHOD


@dataclass(frozen=True)
class Identity:
    """What a served model answers to `export_info`.

    Attributes:
        export_id: a function that returns a scalar string tensor. It is called while `export_info` is traced.
        model: the name that the model was exported under.
        k: the default k.
        labels: the N labels, by index.
        preprocessing: how pixels become inputs, or None if that is unknown.
        golden_digest: the SHA-256 of the golden records' file, in hexadecimal.
        min_score: the default min_score.
        thresholds: the lowest score to keep for each label; empty if labels have no thresholds.

    Example:
        >>> Identity(lambda: tf.constant("0" * 32), "pets", 1, ["cat", "dog", "owl"], None, "0" * 64).k
        1
    """

    export_id: Callable[[], tf.Tensor]
    model: str
    k: int
    labels: Sequence[str]
    preprocessing: str | None
    golden_digest: str
    min_score: float = 0.0
    thresholds: Sequence[float] = ()

    def completed(self, limits: Limits) -> Limits:
        """Complete limits from the export: add its min_score if they have none, and its thresholds."""
        min_score = limits.min_score
        if min_score is None and self.min_score > 0:
            min_score = tf.fill(tf.shape(limits.k), tf.constant(self.min_score, tf.float32))
        return Limits(limits.k, min_score, self.thresholds or None)


@dataclass(frozen=True)
class Backbone:
    """The function that computes the dense probabilities, and its inputs.

    Attributes:
        probabilities: computes float32 [B, N] from the tensors named in `inputs`, passed in that order. With `also`, it
            returns a list: this tensor, followed by one [B, ...] for each name in `also`.
        inputs: the model's inputs, each [B, ...].
        id_bounds: for each input that indexes an embedding, the number of ids in that embedding.
        image_decoding: set for an image model whose preprocessing is known. The model then takes image files too.
        batching: set if requests share a run of the backbone.
        jit_compile: whether XLA compiles the backbone. A server then needs a flag to run it at all.
        also: the names of other outputs, which every signature of the Predict API returns unchanged.

    Example:
        >>> Backbone(model, {"images": tf.TensorSpec([None, 4, 4, 1])}).jit_compile
        False
    """

    probabilities: Callable[..., tf.Tensor]
    inputs: Specs
    id_bounds: Mapping[str, int] = field(default_factory=dict)
    image_decoding: ImageDecoding | None = None
    batching: Batching | None = None
    jit_compile: bool = False
    also: Sequence[str] = ()

    def traced(self, model: str) -> tuple[Callable[..., list[tf.Tensor]], dict[str, tf.TensorSpec]]:
        """Return the function that every signature calls, traced once, and the specs of the outputs in `also`.

        The function returns the probabilities, followed by these outputs. A batching op is named for the model.
        """

        def backbone(*tensors: tf.Tensor) -> list[tf.Tensor]:
            outputs = self.probabilities(*tensors)
            return list(outputs) if self.also else [outputs]

        backbone.__name__ = names.BACKBONE
        specs = list(self.inputs.values())
        function = tf.function(
            backbone, input_signature=specs, autograph=False, jit_compile=True if self.jit_compile else None
        )
        also = {}
        if self.also:
            _, *outputs = function.get_concrete_function().structured_outputs
            also = {name: _of_any_size(output) for name, output in zip(self.also, outputs, strict=True)}
        if self.batching is None:
            return function, also
        return batched(function, self.inputs, self.batching, f"{model}_{names.BACKBONE}", self.also), also


def compose_signatures(
    backbone: Backbone,
    identity: Identity,
    keys: Sequence[str] | None = None,
    own: Mapping[str, tuple[InputForm, OutputForm]] | None = None,
) -> list[Signature]:
    """Build the signatures over one backbone.

    Args:
        backbone: computes the dense probabilities.
        identity: what `export_info` answers. The other signatures use its labels and its k too.
        keys: the signatures to build; by default, all that the model can have. `serving_default` and `export_info`
            are always included and, if labels have thresholds, so are those that return the dense scores: without
            them, nothing can be called or checked.
        own: additional signatures of your own, by key, each an input form and an output form.

    Returns:
        The signatures, with `export_info` last.

    Raises:
        ValueError: if the model cannot have a requested signature, if one of your own has the key of a standard
            signature, or if requests cannot be batched as configured.

    Example:
        >>> backbone = Backbone(model, {"images": tf.TensorSpec([None, 4, 4, 1])})
        >>> [signature.key for signature in compose_signatures(backbone, identity)]
        ['serving_default', 'top_k', 'fixed_k', 'classify', 'export_info']
    """
    table = _standard_forms(backbone, identity)
    if unknown := [key for key in keys or () if key not in table and key != names.EXPORT_INFO]:
        raise ValueError(f"This model cannot have the signature {unknown[0]!r}: it can have {', '.join(table)}.")
    if reserved := sorted({*table, names.EXPORT_INFO, names.DENSE, names.ENCODED_IMAGES_DENSE} & set(own or {})):
        raise ValueError(f"{reserved[0]!r} is the name of a standard signature: give yours another name.")
    traced, also = backbone.traced(identity.model)
    # With a batched backbone, everything else runs on the CPU (see `signatures.batching`).
    device = "/CPU:0" if backbone.batching else None

    def compose(key: str, form: InputForm, answer: OutputForm, method: str) -> Signature:
        # The Classify API has no place for other outputs, and a user's form can only `combine` scores.
        passed = also if key in table and method == PREDICT_METHOD else {}

        def call(received: Tensors) -> Tensors:
            with tf.device(device):
                inputs, limits = form.read(received)
                # A request whose limits do not fit is refused before it costs a run of the backbone.
                with tf.control_dependencies([limit for limit in limits if tf.is_tensor(limit)]):
                    inputs = [tf.identity(tensor) for tensor in inputs]
                dense, *others = traced(*inputs)
                kept = answer.write(form.combine(dense), identity.completed(limits))
                return {**kept, **dict(zip(passed, others, strict=False))}

        outputs = {**answer.outputs, **passed}
        return Signature(key, _trace(call, form.inputs, form.defaults), form.inputs, outputs, method)

    always = {names.SERVING_DEFAULT, names.DENSE, names.ENCODED_IMAGES_DENSE}
    wanted = {key: forms for key, forms in table.items() if not keys or key in {*keys, *always}}
    wanted |= {key: (*forms, PREDICT_METHOD) for key, forms in (own or {}).items()}
    return [*(compose(key, *forms) for key, forms in wanted.items()), _export_info(identity)]


def _standard_forms(backbone: Backbone, identity: Identity) -> dict[str, tuple[InputForm, OutputForm, str]]:
    """Return the input form, the output form and the method of every signature that a model can have, by key."""
    defaults, labels, inputs = (identity.k, identity.min_score), identity.labels, backbone.inputs
    tensors = tensors_form(inputs, backbone.id_bounds, *defaults)
    decode = None
    if backbone.image_decoding:
        (images,) = inputs.values()
        decode = decoder(images, backbone.image_decoding)
    outputs = {name: form(labels) for name, form in OUTPUT_FORMS.items()}
    table = {name or names.SERVING_DEFAULT: (tensors, output, PREDICT_METHOD) for name, output in outputs.items()}
    table[names.FIXED_K] = (without_limits(tensors), probabilities_output(labels), PREDICT_METHOD)
    if identity.thresholds:
        table[names.DENSE] = (without_limits(tensors), dense_output(labels), PREDICT_METHOD)
    # A feature of a tf.Example needs a declared shape.
    if decode or all(spec.shape[1:].is_fully_defined() for spec in inputs.values()):
        examples = examples_form(inputs, backbone.id_bounds, decode, *defaults)
        table[names.CLASSIFY] = (examples, classes_output(labels), CLASSIFY_METHOD)
    if decode:
        encoded = encoded_images_form(decode, *defaults)
        for name, output in outputs.items():
            table["_".join(filter(None, (names.ENCODED_IMAGES, name)))] = (encoded, output, PREDICT_METHOD)
        if identity.thresholds:
            table[names.ENCODED_IMAGES_DENSE] = (without_limits(encoded), dense_output(labels), PREDICT_METHOD)
    return table


def _export_info(identity: Identity) -> Signature:
    """Return the signature that returns the identity, once for each element of `probe`.

    Server-side batching requires at least one input, and outputs of the same length. That is why there is a probe.
    """
    inputs = {names.PROBE: tf.TensorSpec([None], tf.int32)}

    def call(received: Tensors) -> Tensors:
        (probe,) = guard_inputs(received, inputs, {})
        values = {
            names.EXPORT_ID: identity.export_id(),
            names.MODEL: tf.constant(identity.model),
            names.K: tf.constant(identity.k, tf.int32),
            names.MIN_SCORE: tf.constant(identity.min_score, tf.float32),
            names.THRESHOLDS: tf.constant(json.dumps(list(identity.thresholds))),
            names.LABELS: tf.constant(json.dumps(list(identity.labels))),
            names.PREPROCESSING: tf.constant(json.dumps(identity.preprocessing)),
            names.GOLDEN_DIGEST: tf.constant(identity.golden_digest),
        }
        return {name: tf.fill(tf.shape(probe), value) for name, value in values.items()}

    strings = (names.EXPORT_ID, names.MODEL, names.LABELS, names.THRESHOLDS, names.PREPROCESSING, names.GOLDEN_DIGEST)
    outputs = {name: tf.TensorSpec([None], tf.string) for name in strings}
    outputs[names.K] = tf.TensorSpec([None], tf.int32)
    outputs[names.MIN_SCORE] = tf.TensorSpec([None], tf.float32)
    function = _trace(call, inputs, {names.PROBE: tf.constant([0], tf.int32)})
    return Signature(names.EXPORT_INFO, function, inputs, outputs)


def _of_any_size(output: tf.Tensor) -> tf.TensorSpec:
    """Return the spec of an output, [B, ...], for any B."""
    shape = output.shape if output.shape.rank is None else [None, *output.shape[1:]]
    return tf.TensorSpec(shape, output.dtype)


def _trace(call: Callable[[Tensors], Tensors], inputs: Specs, defaults: Mapping[str, tf.Tensor]) -> Any:
    """Return a `tf.function` of `call` whose parameters have the names of the inputs, each of any shape.

    A SignatureDef takes its names and defaults from the traced function's parameters. Here they depend on the model,
    so they are declared through `__signature__`.
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
