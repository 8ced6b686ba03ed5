"""The second half of a signature: how scores become an answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import tensorflow as tf

from signatures.contract import names
from signatures.head import rank_top_k, sparsify_top_k

Tensors: TypeAlias = dict[str, tf.Tensor]
Specs: TypeAlias = Mapping[str, tf.TensorSpec]


@dataclass(frozen=True)
class OutputForm:
    """One way to answer a request.

    Attributes:
        outputs: the declared dtype and shape of each output, by name.
        write: turns dense probabilities, float32 [B, N], and k, int32 [B], into the outputs.

    Example:
        >>> spec = {"best": tf.TensorSpec([None], tf.int64)}
        >>> best = OutputForm(spec, lambda dense, k: {"best": tf.argmax(dense, axis=1)})
        >>> best.write(tf.constant([[0.1, 0.9, 0.2]]), tf.constant([1]))["best"].numpy().tolist()
        [1]
    """

    outputs: Specs
    write: Callable[[tf.Tensor, tf.Tensor], Tensors]


def probabilities_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with the sparsified vector."""
    return OutputForm(
        {names.PROBABILITIES: tf.TensorSpec([None, len(labels)], tf.float32)},
        lambda dense, k: {names.PROBABILITIES: sparsify_top_k(dense, k)},
    )


def top_k_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with the kept entries only: the index, score and label of each place."""

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


def classes_output(labels: Sequence[str]) -> OutputForm:
    """Return the form that answers with labels and scores under the names of the Classify API."""
    top_k = top_k_output(labels)

    def write(dense: tf.Tensor, k: tf.Tensor) -> Tensors:
        answer = top_k.write(dense, k)
        return {names.CLASSES: answer[names.LABELS], names.SCORES: answer[names.SCORES]}

    outputs = {names.CLASSES: top_k.outputs[names.LABELS], names.SCORES: top_k.outputs[names.SCORES]}
    return OutputForm(outputs, write)


# The output forms of the Predict API, by the name that they add to a signature's key.
OUTPUT_FORMS: Mapping[str, Callable[[Sequence[str]], OutputForm]] = {
    "": probabilities_output,
    names.TOP_K: top_k_output,
}
