"""The second half of a signature: how scores become an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import tensorflow as tf

from signatures.contract import names
from signatures.head import kept_first, rank_top_k, sparsify_top_k

Tensors: TypeAlias = dict[str, tf.Tensor]
Specs: TypeAlias = Mapping[str, tf.TensorSpec]


class Limits(NamedTuple):
    """What an answer may keep of each example's scores. `sparsify_top_k` and `rank_top_k` take the three in this order.

    Attributes:
        k: int32 [B], the most entries to keep.
        min_score: float32 [B], the lowest score to keep. If an input form leaves it out, the exported default applies.
        thresholds: the lowest score to keep for each of the N labels, or None if labels have no thresholds. Input
            forms leave it out: it is the same for all requests.

    Example:
        >>> sparsify_top_k(tf.constant([[0.75, 0.5]]), *Limits(tf.constant([1]))).numpy().tolist()
        [[0.75, 0.0]]
    """

    k: tf.Tensor
    min_score: tf.Tensor | None = None
    thresholds: Sequence[float] | None = None


@dataclass(frozen=True)
class OutputForm:
    """One way to answer a request.

    Attributes:
        outputs: the declared dtype and shape of each output, by name.
        write: turns dense probabilities, float32 [B, N], and the limits of each example into the outputs.

    Example:
        >>> spec = {"best": tf.TensorSpec([None], tf.int64)}
        >>> best = OutputForm(spec, lambda dense, limits: {"best": tf.argmax(dense, axis=1)})
        >>> best.write(tf.constant([[0.1, 0.9, 0.2]]), Limits(tf.constant([1])))["best"].numpy().tolist()
        [1]
    """

    outputs: Specs
    write: Callable[[tf.Tensor, Limits], Tensors]


def probabilities_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with the sparsified vector."""
    return OutputForm(
        {names.PROBABILITIES: tf.TensorSpec([None, len(labels)], tf.float32)},
        lambda dense, limits: {names.PROBABILITIES: sparsify_top_k(dense, *limits)},
    )


def dense_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with all scores, regardless of the limits."""
    spec = tf.TensorSpec([None, len(labels)], tf.float32)
    return OutputForm({names.DENSE_PROBABILITIES: spec}, lambda dense, limits: {names.DENSE_PROBABILITIES: dense})


def top_k_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with the kept entries only: the index, score and label of each place."""

    def write(dense: tf.Tensor, limits: Limits) -> Tensors:
        top = rank_top_k(dense, *limits)
        if limits.thresholds is not None:
            top = kept_first(top)
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


def classes_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with labels and scores under the names of the Classify API.

    The answer is only as wide as its longest row needs, because nobody wants a class without a name.
    """
    top_k = top_k_output(labels)

    def write(dense: tf.Tensor, limits: Limits) -> Tensors:
        answer = top_k.write(dense, limits)
        classes, scores = answer[names.LABELS], answer[names.SCORES]
        if limits.min_score is not None or limits.thresholds is not None:
            kept = tf.reduce_sum(tf.cast(answer[names.INDICES] != names.NO_INDEX, tf.int32), axis=1)
            # For a batch without rows, reduce_max returns the smallest integer.
            width = tf.maximum(tf.reduce_max(kept), 0)
            classes, scores = classes[:, :width], scores[:, :width]
        return {names.CLASSES: classes, names.SCORES: scores}

    outputs = {names.CLASSES: top_k.outputs[names.LABELS], names.SCORES: top_k.outputs[names.SCORES]}
    return OutputForm(outputs, write)


# The output forms of the Predict API, by the name that they add to a signature's key.
OUTPUT_FORMS: Mapping[str, Callable[[Sequence[str]], OutputForm]] = {
    "": probabilities_output,
    names.TOP_K: top_k_output,
}
