"""What a model computes in, and letting its backbone compute in another precision.

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
from exporter.writing.layers import called_layers, first_to_differ, is_leaf
from signatures.contract.judge import ranking
from signatures.contract.tolerances import DENSE_TOLERANCES, Tolerance


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What to expect of a precision.

    Attributes:
        dense: how far apart two runs of one model may be on one machine: Keras and a session run the same kernels, but
            fuse and thread them differently. Scores are at most 1, so that the absolute bound rules.
        max_deviation: how far a score may move when the model is cast to this precision.
        max_changed_sets: the share of samples whose kept labels may change then, near ties apart.
        near_tie: labels whose scores differ by less than this share of the larger may change places.
    """

    dense: Tolerance
    max_deviation: float
    max_changed_sets: float
    near_tie: float


_FLOAT32 = Precision(dense=DENSE_TOLERANCES["float32"], max_deviation=1e-3, max_changed_sets=0.05, near_tie=1e-3)
_FLOAT16 = Precision(dense=DENSE_TOLERANCES["mixed_float16"], max_deviation=0.05, max_changed_sets=0.1, near_tie=0.02)

# From fine to coarse, as `computes_in` names them; docs/gpu.md has what the bounds rest on.
PRECISIONS: Mapping[str, Precision] = {
    "float64": _FLOAT32,
    "float32": _FLOAT32,
    "mixed_float16": _FLOAT16,
    **dict.fromkeys(("gptq", "awq", "float8", "int8", "int4"), _FLOAT16),
    "mixed_bfloat16": Precision(
        dense=DENSE_TOLERANCES["mixed_bfloat16"], max_deviation=0.1, max_changed_sets=0.2, near_tie=0.1
    ),
}

# What the types of an op say of it.
_OF_OPS = {
    types_pb2.DT_HALF: "mixed_float16",
    types_pb2.DT_BFLOAT16: "mixed_bfloat16",
    types_pb2.DT_INT8: "int8",
}

# What a model can be cast to.
CHOICES = ("float32", "mixed_float16", "mixed_bfloat16")


@dataclass(frozen=True)
class Deviation:
    """What a precision changed on the samples, against the model's own answers.

    Attributes:
        largest: the largest difference of two scores.
        changed_sets: the share of samples of which another label is kept, near ties apart, from 0 to 1.
        near_ties: the share of samples of which another label is kept whose score was nearly the same, from 0 to 1.
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
    # A subclassed model may compute by itself; what else holds layers only passes tensors on.
    layers = [
        layer
        for layer in model._flatten_layers(include_self=True)
        if not isinstance(layer, keras.layers.InputLayer | keras.Sequential) and not _is_functional(layer)
    ]
    found = {name for layer in layers for name in _of_layer(layer)} & set(PRECISIONS)
    return max(found or {"float32"}, key=list(PRECISIONS).index)


def layers_to_cast(classifier: Classifier, samples: Samples, precision: str | None) -> list[Any]:
    """Return the layers to let compute in a precision.

    These are all that the model calls but the last one, which computes the scores; for float32 that one too. Left as
    they are: quantized layers, whose weights mean nothing without their scales; what computes in no float, such
    as a lookup; and what was loaded from a SavedModel.

    Raises:
        ExportError: when the model has no such layer, or calls none of those that it has.
    """
    if precision is None:
        return []
    if precision not in CHOICES:
        raise ExportError(f"The precision {precision!r} is not known: use one of {', '.join(CHOICES)}.")
    model = classifier.model
    called = called_layers(model, lambda: classifier.answers(samples.rows(0, 1)))
    leaves = [layer for layer in called if is_leaf(layer)]
    # The scores are worth more digits than float16 has.
    chosen = [layer for layer in (leaves if precision == "float32" else leaves[:-1]) if _can_be_cast(layer)]
    policy = keras.DTypePolicy(precision)
    # A layer without weights has nothing to gain.
    if any(layer.weights and layer.compute_dtype != policy.compute_dtype for layer in chosen):
        return chosen
    if computes_in(model) == precision:
        return []
    raise ExportError(
        f"--precision {precision} would change nothing: every layer with weights but the last is quantized, was loaded "
        "from a SavedModel or computes no floats. Leave it out."
    )


@contextmanager
def cast_backbone(layers: Sequence[Any], precision: str | None) -> Iterator[None]:
    """Let layers compute in another precision while the model is traced; afterwards they are as they were.

    Variables stay as they are. Works for subclassed models too, which `keras.models.clone_model` refuses.
    """
    before = [(layer, layer._dtype_policy) for layer in layers]
    try:
        for layer in layers:
            # Not through `dtype_policy`: where several layers share one map of policies, that would change the map.
            layer._dtype_policy = keras.DTypePolicy(precision)
        yield
    finally:
        for layer, policy in before:
            layer._dtype_policy = policy


def deviation(own: npt.NDArray[np.float32], dense: npt.NDArray[np.float32], k: int, near_tie: float = 0.0) -> Deviation:
    """Compare dense answers, [S, N], with the model's own."""
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
    """Ask the model in another precision, and hold its answers against its own.

    Args:
        classifier: the model.
        samples: what it is asked.
        layers: what `layers_to_cast` found.
        own: the model's own dense answers to the samples, [S, N].
        k: how many labels are kept.
        options: the precision, and the bounds where they are not those of PRECISIONS.

    Returns:
        The dense answers, [S, N], and what changed.

    Raises:
        ValidationError: when more changed than may; the message names the first layer whose output left the bound.
        ExportError: when the model cannot compute in the precision at all.
    """
    precision = str(options.precision)
    # Whichever is coarser has noise of its own.
    coarser = max(precision, computes_in(classifier.model), key=list(PRECISIONS).index)
    expected = PRECISIONS[coarser]
    with cast_backbone(layers, precision):
        dense = classifier.answers(samples)
    if np.isfinite(dense).all():
        changed = deviation(own, dense, k, expected.near_tie)
        worst = int(np.abs(own - dense).max(axis=1).argmax())
        said = f"a score differs by {changed.largest:.2g} from the model's own"
    else:
        worst = int(np.argwhere(~np.isfinite(dense))[0][0])
        changed = Deviation(float("inf"), 1.0, 0.0)
        said = f"the answer to sample {worst} is not finite"
    most = expected.max_deviation if options.max_deviation is None else options.max_deviation
    share = expected.max_changed_sets if options.max_changed_sets is None else options.max_changed_sets
    if changed.largest > most:
        problem = f"{said}, more than --max-deviation {most:g} allows"
    elif changed.changed_sets > share:
        problem = f"{changed.changed_sets:.1%} of the kept sets change, more than --max-changed-sets {share:g} allows"
    else:
        return dense, changed
    sample = samples.rows(worst, worst + 1)
    found = first_to_differ(
        classifier.model, lambda: classifier.answers(sample), cast_backbone(layers, precision), most
    )
    first = f"The first layer to leave the bound is {found}." if found else "No layer can be named that left the bound."
    raise ValidationError(f"In {precision} {problem}. {first} Leave out --precision, or move the bound.")


def _can_be_cast(layer: Any) -> bool:
    return (
        layer.quantization_mode is None
        and keras.backend.is_float_dtype(layer.compute_dtype)
        and not isinstance(layer, keras.layers.TFSMLayer | keras.layers.InputLayer)
    )


def _of_layer(layer: Any) -> Iterator[str]:
    """Name what a layer computes in."""
    yield {"float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}.get(layer.compute_dtype, layer.compute_dtype)
    if layer.quantization_mode is not None:
        yield layer.quantization_mode
    if isinstance(layer, keras.layers.TFSMLayer):
        # Its layers are gone; what the ops of its graph take is not.
        for function in layer.call_endpoint_fn.concrete_functions:
            graph = function.graph.as_graph_def()
            nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
            yield from (_OF_OPS.get(value.type, "") for node in nodes for value in node.attr.values())


def _is_functional(layer: Any) -> bool:
    return isinstance(layer, keras.Model) and hasattr(layer, "_operations")
