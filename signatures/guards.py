"""Checks between a request and the model: a wrong shape fails that request with a clear message, and nothing else.

The server does not compare a request with the signature, and a convolution that receives a matrix ends the server's
process. So every signature accepts inputs of any shape and checks them here first. The placeholders must not declare
a shape: the optimizer would drop a check that a declared shape already guarantees.
"""

from collections.abc import Mapping

import tensorflow as tf


def guard_inputs(
    received: Mapping[str, tf.Tensor], declared: Mapping[str, tf.TensorSpec], id_bounds: Mapping[str, int]
) -> list[tf.Tensor]:
    """Return the model's inputs in the declared order, if they fit the declaration and have the same batch size.

    Args:
        received: tensors of unknown shape, by input name.
        declared: the model's inputs by name, each [B, ...].
        id_bounds: for each input that holds ids, the number of ids. An id outside the embedding would fail in the
            backbone on a CPU, together with every request in its batch, and would read as zeros on a GPU.

    Returns:
        The checked tensors, in the order of `declared`.

    Raises:
        tf.errors.InvalidArgumentError: when the signature runs; the message has the received and the expected shape.
    """
    inputs = {name: tf.ensure_shape(received[name], spec.shape) for name, spec in declared.items()}
    checks = [_check_ids(name, inputs[name], bound) for name, bound in id_bounds.items()]
    if len(inputs) > 1:
        checks.append(_check_one_batch_size(inputs))
    if not checks:
        return list(inputs.values())
    with tf.control_dependencies(checks):
        return [tf.identity(tensor) for tensor in inputs.values()]


def one_for_each_example(name: str, value: tf.Tensor, example_input: tf.Tensor) -> tf.Tensor:
    """Return one k or min_score per example, from a scalar, a single element or one value per example.

    Args:
        name: the name of the input.
        value: its value, of unknown shape.
        example_input: any of the model's inputs, [B, ...].

    Returns:
        The values, [B].

    Raises:
        tf.errors.InvalidArgumentError: when the signature runs and the value has any other shape.
    """
    examples = tf.shape(example_input)[0]
    one_or_each = tf.logical_or(tf.equal(tf.size(value), 1), tf.equal(tf.size(value), examples))
    fits = tf.debugging.Assert(
        tf.logical_and(tf.less_equal(tf.rank(value), 1), one_or_each),
        [
            f"{name} must be a scalar, or have one element, or one for each example; examples received:",
            examples,
            f"shape of {name} received:",
            tf.shape(value),
        ],
        summarize=8,
    )
    with tf.control_dependencies([fits]):
        return tf.broadcast_to(tf.reshape(value, [-1]), [examples])


def finite(name: str, values: tf.Tensor) -> tf.Tensor:
    """Return numbers if none of them is NaN or infinite.

    Args:
        name: the name of the input.
        values: its values.

    Returns:
        The same values.

    Raises:
        tf.errors.InvalidArgumentError: when the signature runs and a value is not finite.
    """
    check = tf.debugging.Assert(
        tf.reduce_all(tf.math.is_finite(values)), [f"{name} must be a finite number; received:", values], summarize=8
    )
    with tf.control_dependencies([check]):
        return tf.identity(values)


def _check_ids(name: str, ids: tf.Tensor, bound: int) -> tf.Operation:
    if ids.dtype.is_integer:
        # int64 can hold the bound, which the type of the ids may not.
        ids = tf.cast(ids, tf.int64)
    low, high = tf.reduce_min(ids), tf.reduce_max(ids)
    return tf.debugging.Assert(
        # In an empty batch, the minimum is above the maximum.
        tf.logical_or(tf.greater(low, high), tf.logical_and(tf.greater_equal(low, 0), tf.less(high, bound))),
        [f"{name} must hold ids from 0 to {bound - 1}; smallest and largest received:", low, high],
    )


def _check_one_batch_size(inputs: Mapping[str, tf.Tensor]) -> tf.Operation:
    sizes = [tf.shape(tensor)[0] for tensor in inputs.values()]
    return tf.debugging.Assert(
        tf.reduce_all(tf.equal(sizes, sizes[0])),
        [f"{', '.join(inputs)} must all have the same number of examples; received:", *sizes],
    )
