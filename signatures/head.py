"""The sparsified head: of each row of probabilities the k largest stay, the rest become zero.

A threshold at the k-th largest score would keep more than k where scores tie; here exactly min(k, N) are kept.
"""

from typing import NamedTuple

import tensorflow as tf

# Labels from which on another form is faster (docs/head.md has the measurements).
_LONG, _VERY_LONG = 1000, 4000
_CHUNK = 32


class TopK(NamedTuple):
    """The K largest entries of each row, in falling order, where K is the largest k of the batch.

    `scores` has the probabilities' dtype, `indices` is int32, `kept` is bool; all are [B, K]. In a row whose own k is
    smaller than K, `kept` is False behind its first k places.
    """

    scores: tf.Tensor
    indices: tf.Tensor
    kept: tf.Tensor


def rank_top_k(probabilities: tf.Tensor, k: tf.Tensor) -> TopK:
    """Rank each row's entries and say which are kept.

    Equal scores rank by lower index, as `tf.math.top_k` promises. NaN ranks first, so that a broken model shows:
    `tf.math.top_k` alone finds NaN neither larger nor smaller than anything, and loses it at some places.

    Args:
        probabilities: a float tensor [B, N].
        k: int32 [B], each row's own. Clamped to [0, N].

    Example:
        >>> rank_top_k(tf.constant([[0.1, 0.9, 0.9]]), tf.constant([2])).indices
        [[1, 2]]
    """
    k = tf.clip_by_value(k, 0, tf.shape(probabilities)[1])
    # In a batch of no rows reduce_max answers with the smallest integer.
    width = tf.maximum(tf.reduce_max(k), 0)
    labels = probabilities.shape[1] or 0
    ranking = _nan_first(probabilities) if labels < _LONG else _nan_first_if_there_is_one(probabilities)
    indices = tf.math.top_k(ranking, width).indices if labels < _VERY_LONG else _top_k_in_chunks(ranking, width)
    scores = tf.gather(probabilities, indices, batch_dims=1)
    return TopK(scores, indices, kept=tf.range(width) < k[:, tf.newaxis])


def _nan_first(scores: tf.Tensor) -> tf.Tensor:
    """Make scores that `tf.math.top_k` can rank: infinity in NaN's place, and nowhere else."""
    finite = tf.minimum(scores, scores.dtype.max)
    return tf.where(tf.math.is_nan(scores), scores.dtype.as_numpy_dtype("inf"), finite)


def _nan_first_if_there_is_one(scores: tf.Tensor) -> tf.Tensor:
    """Do the same, faster for long rows: a sum costs less than a look at each score."""
    # It is NaN wherever a NaN is; infinities may make it NaN too.
    suspicious = tf.math.is_nan(tf.reduce_sum(scores))
    return tf.cond(suspicious, lambda: _nan_first(scores), lambda: scores)


def _top_k_in_chunks(ranking: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Find the indices that `tf.math.top_k` finds, faster for very long rows.

    The `width` largest of a row are all in those `width` chunks whose maxima are largest: every chunk that ranks before
    an entry's own holds an entry that ranks before it.
    """
    chunks = -(-ranking.shape[1] // _CHUNK)
    missing = chunks * _CHUNK - ranking.shape[1]
    padded = tf.pad(ranking, [[0, 0], [0, missing]], constant_values=ranking.dtype.as_numpy_dtype("-inf"))
    chunked = tf.reshape(padded, [-1, chunks, _CHUNK])
    best = tf.math.top_k(tf.reduce_max(chunked, axis=2), tf.minimum(width, chunks)).indices
    # In rising order, so that among the candidates too a lower place means a lower index.
    best = tf.sort(best, axis=1)
    candidates = tf.reshape(tf.gather(chunked, best, batch_dims=1), [tf.shape(ranking)[0], tf.shape(best)[1] * _CHUNK])
    places = tf.math.top_k(candidates, width).indices
    return tf.gather(best, places // _CHUNK, batch_dims=1) * _CHUNK + places % _CHUNK


def sparsify_top_k(probabilities: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Zero all but each row's k largest probabilities.

    Exactly min(k, N) entries of a row are kept, whatever ties; a kept entry may itself be zero. Gradients flow through
    the kept entries alone.

    Args:
        probabilities: floats [..., N], a tensor or what becomes one.
        k: integers: a scalar, or one k a row (a shape that broadcasts to [...]). It is clamped to [0, N]:
            k <= 0 returns zeros, k >= N `probabilities`.

    Returns:
        A tensor of the shape and dtype of `probabilities`.

    Example:
        >>> sparsify_top_k(tf.constant([[0.7, 0.1, 0.7, 0.7]]), tf.constant(2))
        [[0.7, 0.0, 0.7, 0.0]]
    """
    probabilities, k = tf.convert_to_tensor(probabilities), tf.convert_to_tensor(k)
    shape = tf.shape(probabilities)
    # As rows, so that one scatter serves every rank.
    rows, labels = tf.reduce_prod(shape[:-1]), shape[-1]
    # Clamped before it is narrowed, so that no large k wraps around.
    k = tf.cast(tf.clip_by_value(k, 0, tf.cast(labels, k.dtype)), tf.int32)
    k = tf.reshape(tf.broadcast_to(k, shape[:-1]), [rows])
    top = rank_top_k(tf.reshape(probabilities, [rows, labels]), k)
    row_of_each = tf.broadcast_to(tf.range(rows)[:, tf.newaxis], tf.shape(top.indices))
    kept = tf.where(top.kept, top.scores, tf.zeros([], probabilities.dtype))
    sparse = tf.scatter_nd(tf.stack([row_of_each, top.indices], axis=-1), kept, [rows, labels])
    return tf.ensure_shape(tf.reshape(sparse, shape), probabilities.shape)
