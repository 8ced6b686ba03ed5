"""Find the precision that a model computes in, and let its backbone compute in another.

The head and the answers stay float32. How far two runs may differ follows from the coarsest precision in the model.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from tensorflow.core.framework import types_pb2

from exporter.errors import ExportError, ValidationError
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.sources.classifier import Classifier
from exporter.sources.saved_models import SavedModelEndpoint
from exporter.writing.layers import called_layers, first_to_differ, is_leaf
from signatures.contract.kept import ranking
from signatures.contract.tolerances import DENSE_TOLERANCES, Tolerance


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The bounds for a precision.

    Attributes:
        dense: how much two runs of one model on one machine may differ: Keras and a session run the same kernels, but
            fuse and thread them differently. Scores are at most 1, so the absolute bound decides.
        max_deviation: how far a score may move when the model is cast to this precision.
        max_changed_sets: the share of samples whose kept labels may then change, not counting near ties.
        near_tie: two labels may change places if their scores differ by less than this share of the larger one.
    """

    dense: Tolerance
    max_deviation: float
    max_changed_sets: float
    near_tie: float


_FLOAT32 = Precision(dense=DENSE_TOLERANCES["float32"], max_deviation=1e-3, max_changed_sets=0.05, near_tie=1e-3)
_FLOAT16 = Precision(dense=DENSE_TOLERANCES["mixed_float16"], max_deviation=0.05, max_changed_sets=0.1, near_tie=0.02)

# From fine to coarse, as `computes_in` names them; docs/gpu.md says what the bounds are based on.
PRECISIONS: Mapping[str, Precision] = {
    "float64": _FLOAT32,
    "float32": _FLOAT32,
    "mixed_float16": _FLOAT16,
    **dict.fromkeys(("gptq", "awq", "float8", "int8", "int4"), _FLOAT16),
    "mixed_bfloat16": Precision(
        dense=DENSE_TOLERANCES["mixed_bfloat16"], max_deviation=0.1, max_changed_sets=0.2, near_tie=0.1
    ),
}

# The precision that an op's types imply.
_OF_OPS = {
    types_pb2.DT_HALF: "mixed_float16",
    types_pb2.DT_BFLOAT16: "mixed_bfloat16",
    types_pb2.DT_INT8: "int8",
}

# The precisions that a model can be cast to.
CHOICES = ("float32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Deviation:
    """How a precision changed the answers to the samples.

    Attributes:
        largest: the largest difference between two scores.
        changed_sets: the share of samples whose kept labels changed, not counting near ties, from 0 to 1.
        near_ties: the share of samples whose kept labels changed only between nearly equal scores, from 0 to 1.
    """

    largest: float
    changed_sets: float
    near_ties: float


def computes_in(model: Any) -> str:
    """Return the coarsest precision that a layer of the model computes in, one of PRECISIONS.

    Example:
        >>> computes_in(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, dtype="mixed_float16")]))
        'mixed_float16'
    """
    # A subclassed model may compute something itself; other containers of layers only pass tensors on.
    layers = [
        layer
        for layer in model._flatten_layers(include_self=True)
        if not isinstance(layer, keras.layers.InputLayer | keras.Sequential) and not _is_functional(layer)
    ]
    found = {name for layer in layers for name in _of_layer(layer)} & set(PRECISIONS)
    return max(found or {"float32"}, key=list(PRECISIONS).index)


def layers_to_cast(classifier: Classifier, samples: Samples, precision: str | None) -> list[Any]:
    """Return the layers to cast to a precision.

    These are all layers that the model calls except the last one, which computes the scores, and those that compute the
    outputs of a functional model; float32 includes these too. Quantized layers stay as they are, because their weights
    mean nothing without their scales. So do layers that compute no floats, such as lookups, and layers loaded from a
    SavedModel.

    Raises:
        ExportError: when the precision is unknown, or would change nothing.
    """
    if precision is None:
        return []
    if precision not in CHOICES:
        raise ExportError(f"The precision {precision!r} is unknown: use one of {', '.join(CHOICES)}.")
    model = classifier.model
    called = called_layers(model, lambda: classifier.answers(samples.rows(0, 1)))
    leaves = [layer for layer in called if is_leaf(layer)]
    # The scores need more digits than float16 has.
    last = [*leaves[-1:], *(tensor._keras_history.operation for tensor in getattr(model, "outputs", None) or ())]
    spared = set() if precision == "float32" else set(map(id, last))
    chosen = [layer for layer in leaves if id(layer) not in spared and _can_be_cast(layer)]
    policy = keras.DTypePolicy(precision)
    # A layer without weights has nothing to gain.
    if any(layer.weights and layer.compute_dtype != policy.compute_dtype for layer in chosen):
        return chosen
    if computes_in(model) == precision:
        return []
    raise ExportError(
        f"--precision {precision} would change nothing: except for the last, every layer with weights is quantized, "
        "was loaded from a SavedModel or computes no floats. Leave the option out."
    )


@contextmanager
def cast_backbone(layers: Sequence[Any], precision: str | None) -> Iterator[None]:
    """Cast layers to another precision, and restore them on exit.

    Variables keep their types. This works for subclassed models too, which `keras.models.clone_model` refuses.
    """
    before = [(layer, layer._dtype_policy) for layer in layers]
    try:
        for layer in layers:
            # Setting `dtype_policy` would change the map of policies that several layers may share.
            layer._dtype_policy = keras.DTypePolicy(precision)
        yield
    finally:
        for layer, policy in before:
            layer._dtype_policy = policy


def deviation(own: npt.NDArray[np.float32], dense: npt.NDArray[np.float32], k: int, near_tie: float = 0.0) -> Deviation:
    """Measure how dense answers, [S, N], differ from the model's own."""
    changed = near = 0
    for before, after in zip(own, dense, strict=True):
        best, chosen = ranking(before)[:k], ranking(after)[:k]
        lost, gained = np.setdiff1d(best, chosen), np.setdiff1d(chosen, best)
        if len(lost):
            highest = float(before[lost].max())
            nearly = highest - float(before[gained].min()) <= near_tie * highest
            changed, near = changed + (not nearly), near + nearly
    return Deviation(float(np.abs(own - dense).max()), changed / len(own), near / len(own))


def answers_in(
    classifier: Classifier,
    samples: Samples,
    layers: Sequence[Any],
    own: npt.NDArray[np.float32],
    k: int,
    options: ExportOptions,
) -> tuple[npt.NDArray[np.float32], Deviation]:
    """Run the model in another precision, and compare its answers with those in its own.

    Args:
        classifier: the model.
        samples: the examples to run it on.
        layers: the result of `layers_to_cast`.
        own: the model's own dense answers to the samples, [S, N].
        k: how many labels are kept.
        options: the precision, and bounds that replace those of PRECISIONS.

    Returns:
        The dense answers, [S, N], and what changed.

    Raises:
        ValidationError: when the answers changed too much; the message names the first layer that changed too much.
        ExportError: when the model cannot compute in the precision at all.
    """
    precision = str(options.precision)
    # The noise is that of the coarser precision.
    coarser = max(precision, computes_in(classifier.model), key=list(PRECISIONS).index)
    expected = PRECISIONS[coarser]
    with cast_backbone(layers, precision):
        dense = classifier.answers(samples)
    if np.isfinite(dense).all():
        changed = deviation(own, dense, k, expected.near_tie)
        worst = int(np.abs(own - dense).max(axis=1).argmax())
        change = f"a score differs by {changed.largest:.2g} from the model's own"
    else:
        worst = int(np.argwhere(~np.isfinite(dense))[0][0])
        changed = Deviation(float("inf"), 1.0, 0.0)
        change = f"the answer to sample {worst} is not finite"
    max_deviation = expected.max_deviation if options.max_deviation is None else options.max_deviation
    max_changed = expected.max_changed_sets if options.max_changed_sets is None else options.max_changed_sets
    if changed.largest > max_deviation:
        problem = f"{change}, more than --max-deviation {max_deviation:g} allows"
    elif changed.changed_sets > max_changed:
        problem = (
            f"{changed.changed_sets:.1%} of the kept sets change, more than --max-changed-sets {max_changed:g} allows"
        )
    else:
        return dense, changed
    sample = samples.rows(worst, worst + 1)
    layer = first_to_differ(
        classifier.model, lambda: classifier.answers(sample), cast_backbone(layers, precision), max_deviation
    )
    first = f"The first layer to leave the bound is {layer}." if layer else "No single layer left the bound."
    raise ValidationError(f"In {precision} {problem}. {first} Leave out --precision, or raise the limit.")


def _can_be_cast(layer: Any) -> bool:
    return (
        layer.quantization_mode is None
        and keras.backend.is_float_dtype(layer.compute_dtype)
        and not isinstance(layer, SavedModelEndpoint | keras.layers.TFSMLayer | keras.layers.InputLayer)
    )


def _of_layer(layer: Any) -> Iterator[str]:
    """Yield the precisions that a layer computes in."""
    yield {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}.get(layer.compute_dtype, layer.compute_dtype)
    if layer.quantization_mode is not None:
        yield layer.quantization_mode
    if isinstance(layer, SavedModelEndpoint | keras.layers.TFSMLayer):
        # Its layers are gone, but the ops of its graph still have types.
        own = isinstance(layer, SavedModelEndpoint)
        for function in [layer.function] if own else layer.call_endpoint_fn.concrete_functions:
            graph = function.graph.as_graph_def()
            nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
            yield from (_OF_OPS.get(value.type, "") for node in nodes for value in node.attr.values())


def _is_functional(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and hasattr(layer, "_operations")
