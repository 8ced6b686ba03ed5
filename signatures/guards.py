"""What stands between a request and the model: a wrong shape ends that request, with a sentence, and nothing else.

The server does not compare a request with the signature, and a convolution that gets a matrix ends the server's
process. So every signature takes its inputs in any shape and checks them here first. The placeholders must have no
shape of their own: the optimizer drops a check that a declared shape already promises.
"""

from collections.abc import Mapping

import tensorflow as tf


def guard_inputs(
    received: Mapping[str, tf.Tensor], declared: Mapping[str, tf.TensorSpec], id_bounds: Mapping[str, int]
) -> list[tf.Tensor]:
    """Pass on the model's inputs, in the order declared, if they are as declared and of one batch size.

    Args:
        received: tensors of unknown shape, by input name.
        declared: what the model takes, by input name; [B, ...] each.
        id_bounds: for an input that holds ids, how many ids there are. An id that an embedding does not have fails
            inside the backbone on a CPU, with all that shares its batch, and reads as zeros on a GPU.

    Raises:
        tf.errors.InvalidArgumentError: when the signature runs, naming the shape received and the one expected.
    """
    inputs = {name: tf.ensure_shape(received[name], spec.shape) for name, spec in declared.items()}
    checks = [_check_ids(name, inputs[name], bound) for name, bound in id_bounds.items()]
    if len(inputs) > 1:
        checks.append(_check_one_batch_size(inputs))
    if not checks:
        return list(inputs.values())
    with tf.control_dependencies(checks):
        return [tf.identity(tensor) for tensor in inputs.values()]


def k_of_each_example(k: tf.Tensor, example_input: tf.Tensor) -> tf.Tensor:
    """Spread k over the batch: from a scalar, one element or one value an example to int32 [B].

    Args:
        k: int32 of unknown shape.
        example_input: any of the model's inputs, [B, ...].

    Raises:
        tf.errors.InvalidArgumentError: when the signature runs and k has any other shape.
    """
    examples = tf.shape(example_input)[0]
    one_or_each = tf.logical_or(tf.equal(tf.size(k), 1), tf.equal(tf.size(k), examples))
    fits = tf.debugging.Assert(
        tf.logical_and(tf.less_equal(tf.rank(k), 1), one_or_each),
        [
            "k must be a scalar, or have one element, or one for each example; examples received:",
            examples,
            "shape of k received:",
            tf.shape(k),
        ],
        summarize=8,
    )
    with tf.control_dependencies([fits]):
        return tf.broadcast_to(tf.reshape(k, [-1]), [examples])


def _check_ids(name: str, ids: tf.Tensor, bound: int) -> tf.Operation:
    if ids.dtype.is_integer:
        # Wide enough for the bound, which the ids' own type need not hold.
        ids = tf.cast(ids, tf.int64)
    low, high = tf.reduce_min(ids), tf.reduce_max(ids)
    return tf.debugging.Assert(
        # An empty batch has a minimum above its maximum.
        tf.logical_or(tf.greater(low, high), tf.logical_and(tf.greater_equal(low, 0), tf.less(high, bound))),
        [f"{name} must hold ids from 0 to {bound - 1}; smallest and largest received:", low, high],
    )


def _check_one_batch_size(inputs: Mapping[str, tf.Tensor]) -> tf.Operation:
    sizes = [tf.shape(tensor)[0] for tensor in inputs.values()]
    return tf.debugging.Assert(
        tf.reduce_all(tf.equal(sizes, sizes[0])),
        [f"{', '.join(inputs)} must have as many examples each; received:", *sizes],
    )
