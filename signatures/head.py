"""The sparsified head: in each row of probabilities, the k largest stay if they are large enough; the rest become zero.

A threshold at the k-th largest score would keep more than k when scores tie. Here the cut by k comes first, and keeps
exactly min(k, N). Bounds on the scores only take entries away: no smaller score moves up.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

# From these numbers of labels on, another algorithm is faster (docs/head.md has the measurements).
_LONG, _VERY_LONG = 1000, 4000
_CHUNK = 32


class TopK(NamedTuple):
    """The K largest entries of each row, in descending order, where K is the largest k in the batch.

    `scores` has the probabilities' dtype, `indices` is int32, `kept` is bool; all are [B, K]. `kept` is False after a
    row's own first k places, and for a score below one of its bounds.
    """

    scores: tf.Tensor
    indices: tf.Tensor
    kept: tf.Tensor


def rank_top_k(
    probabilities: tf.Tensor,
    k: tf.Tensor,
    min_score: tf.Tensor | None = None,
    thresholds: Sequence[float] | None = None,
) -> TopK:
    """Rank each row's entries and mark those that are kept.

    Of equal scores, the lower index ranks first, as `tf.math.top_k` promises. NaN ranks above everything else, so that
    a broken model is noticed. (`tf.math.top_k` alone finds NaN neither larger nor smaller than any number, and loses
    it in some positions.)

    Args:
        probabilities: a float tensor [B, N].
        k: int32 [B], one k for each row. It is clamped to [0, N].
        min_score: floats [B], one for each row: a smaller score is not kept. 0 or less bounds nothing.
        thresholds: N numbers, one for each label: a smaller score of that label is not kept. 0 or less bounds nothing.

    Returns:
        The K largest entries of each row, where K is the largest k.

    Example:
        >>> rank_top_k(tf.constant([[0.1, 0.9, 0.9]]), tf.constant([2])).indices.numpy().tolist()
        [[1, 2]]
    """
    k = tf.clip_by_value(k, 0, tf.shape(probabilities)[1])
    # For a batch without rows, reduce_max returns the smallest integer.
    width = tf.maximum(tf.reduce_max(k), 0)
    labels = probabilities.shape[1] or 0
    ranking = _nan_first(probabilities) if labels < _LONG else _nan_first_if_there_is_one(probabilities)
    indices = tf.math.top_k(ranking, width).indices if labels < _VERY_LONG else _top_k_in_chunks(ranking, width)
    scores = tf.gather(probabilities, indices, batch_dims=1)
    kept = tf.range(width) < k[:, tf.newaxis]
    # Not `>=`: NaN is not below anything, so it is kept whatever the bounds.
    if min_score is not None:
        bound = tf.cast(min_score, scores.dtype)[:, tf.newaxis]
        kept &= ~((scores < bound) & (bound > 0))
    if thresholds is not None:
        bound = tf.gather(tf.constant(thresholds, scores.dtype), indices)
        kept &= ~((scores < bound) & (bound > 0))
    return TopK(scores, indices, kept)


def kept_first(top: TopK) -> TopK:
    """Move the kept entries of each row to the front, in the same order. Thresholds may leave gaps between them.

    Args:
        top: the ranked entries.

    Returns:
        The same entries.

    Example:
        >>> top = rank_top_k(tf.constant([[0.5, 0.25]]), tf.constant([2]), thresholds=[0.75, 0])
        >>> top.indices.numpy().tolist(), kept_first(top).indices.numpy().tolist()
        ([[0, 1]], [[1, 0]])
    """
    # Of equal numbers, `tf.math.top_k` lists the one at the lower place first.
    order = tf.math.top_k(tf.cast(top.kept, tf.int32), tf.shape(top.kept)[1]).indices
    return TopK(*(tf.gather(each, order, batch_dims=1) for each in top))


def _nan_first(scores: tf.Tensor) -> tf.Tensor:
    """Return scores that `tf.math.top_k` can rank: NaN is replaced by infinity, and infinity by something smaller."""
    finite = tf.minimum(scores, scores.dtype.max)
    return tf.where(tf.math.is_nan(scores), scores.dtype.as_numpy_dtype("inf"), finite)


def _nan_first_if_there_is_one(scores: tf.Tensor) -> tf.Tensor:
    """Do the same as `_nan_first`, but faster for long rows: a sum costs less than looking at each score."""
    # The sum is NaN if any score is; infinities may make it NaN too.
    suspicious = tf.math.is_nan(tf.reduce_sum(scores))
    return tf.cond(suspicious, lambda: _nan_first(scores), lambda: scores)


def _top_k_in_chunks(ranking: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Find the same indices as `tf.math.top_k`, faster for very long rows.

    The `width` largest entries of a row are all in the `width` chunks with the largest maxima: every chunk that ranks
    before an entry's own chunk holds an entry that ranks before that entry.
    """
    chunks = -(-ranking.shape[1] // _CHUNK)
    missing = chunks * _CHUNK - ranking.shape[1]
    padded = tf.pad(ranking, [[0, 0], [0, missing]], constant_values=ranking.dtype.as_numpy_dtype("-inf"))
    chunked = tf.reshape(padded, [-1, chunks, _CHUNK])
    best = tf.math.top_k(tf.reduce_max(chunked, axis=2), tf.minimum(width, chunks)).indices
    # In ascending order, so that a lower position among the candidates means a lower index, too.
    best = tf.sort(best, axis=1)
    candidates = tf.reshape(tf.gather(chunked, best, batch_dims=1), [tf.shape(ranking)[0], tf.shape(best)[1] * _CHUNK])
    places = tf.math.top_k(candidates, width).indices
    return tf.gather(best, places // _CHUNK, batch_dims=1) * _CHUNK + places % _CHUNK


def sparsify_top_k(
    probabilities: tf.Tensor,
    k: tf.Tensor,
    min_score: tf.Tensor | None = None,
    thresholds: Sequence[float] | None = None,
) -> tf.Tensor:
    """Zero each row's probabilities, except those of the k largest that reach their bounds.

    Without bounds, exactly min(k, N) entries of a row are kept, even if scores tie. A kept entry may itself be zero.
    Gradients flow only through the kept entries.

    Args:
        probabilities: floats [..., N], a tensor or something that can be converted to one.
        k: integers: a scalar, or one k per row (a shape that broadcasts to [...]). It is clamped to [0, N]:
            k <= 0 returns zeros, k >= N returns `probabilities`.
        min_score: the lowest score to keep: a scalar, or one per row, as k. 0 or less bounds nothing.
        thresholds: the lowest score to keep for each of the N labels. 0 or less bounds nothing.

    Returns:
        A tensor of the shape and dtype of `probabilities`.

    Example:
        >>> sparsify_top_k(tf.constant([[0.75, 0.25, 0.75, 0.75]]), tf.constant(2)).numpy().tolist()
        [[0.75, 0.0, 0.75, 0.0]]
        >>> sparsify_top_k(tf.constant([[0.75, 0.25, 0.5]]), tf.constant(2), min_score=0.625).numpy().tolist()
        [[0.75, 0.0, 0.0]]
    """
    probabilities, k = tf.convert_to_tensor(probabilities), tf.convert_to_tensor(k)
    shape = tf.shape(probabilities)
    # As a matrix, so that one scatter works for every rank.
    rows, labels = tf.reduce_prod(shape[:-1]), shape[-1]
    # A narrow type may not hold the number of labels.
    k = tf.cast(k, tf.int32) if k.dtype.size < tf.int32.size else k
    # Clamp before the cast, so that a large k does not wrap around.
    k = tf.cast(tf.clip_by_value(k, 0, tf.cast(labels, k.dtype)), tf.int32)
    k = tf.reshape(tf.broadcast_to(k, shape[:-1]), [rows])
    if min_score is not None:
        # A Python float must not lose digits that float64 scores have.
        min_score = tf.convert_to_tensor(min_score, dtype_hint=probabilities.dtype)
        min_score = tf.reshape(tf.broadcast_to(min_score, shape[:-1]), [rows])
    top = rank_top_k(tf.reshape(probabilities, [rows, labels]), k, min_score, thresholds)
    row_of_each = tf.broadcast_to(tf.range(rows)[:, tf.newaxis], tf.shape(top.indices))
    kept = tf.where(top.kept, top.scores, tf.zeros([], probabilities.dtype))
    sparse = tf.scatter_nd(tf.stack([row_of_each, top.indices], axis=-1), kept, [rows, labels])
    return tf.ensure_shape(tf.reshape(sparse, shape), probabilities.shape)
