"""The guards inside a traced function, as a signature has them: tensors of any shape come in."""

import numpy as np
import pytest
import tensorflow as tf

from signatures.guards import guard_inputs, one_for_each_example

PIXELS, IDS, MORE = (
    tf.TensorSpec([None, 2], tf.float32),
    tf.TensorSpec([None], tf.int32),
    tf.TensorSpec([None], tf.float32),
)


def traced(declared, id_bounds):
    """Return the guard as a function of arrays, one for each input, in the order declared."""

    @tf.function(input_signature=[tf.TensorSpec(None, spec.dtype) for spec in declared.values()], autograph=False)
    def guard(*tensors):
        return guard_inputs(dict(zip(declared, tensors, strict=True)), declared, id_bounds)

    def call(*arrays):
        dtypes = [spec.dtype.as_numpy_dtype for spec in declared.values()]
        return [tensor.numpy().tolist() for tensor in guard(*map(np.asarray, arrays, dtypes))]

    return call


@tf.function(input_signature=[tf.TensorSpec(None, tf.int32), tf.TensorSpec(None, tf.float32)], autograph=False)
def spread(k, example_input):
    return one_for_each_example("k", k, example_input)


def refused(message):
    return pytest.raises(tf.errors.InvalidArgumentError, match=message)


def test_one_input_is_passed_on_and_its_shape_is_held():
    guard = traced({"pixels": PIXELS}, {})
    assert guard([[1, 2], [3, 4], [5, 6]]) == [[[1, 2], [3, 4], [5, 6]]]
    assert guard(np.zeros((0, 2))) == [[]]
    for wrong in (np.zeros(2), np.zeros((1, 3)), np.zeros((1, 2, 1))):
        with refused(r"is not compatible with expected shape \[\?,2\]"):
            guard(wrong)


def test_several_inputs_are_passed_on_in_the_order_declared():
    guard = traced({"pixels": PIXELS, "ids": IDS, "more": MORE}, {"ids": 3})
    assert guard([[1, 2]], [2], [0.5]) == [[[1, 2]], [2], [0.5]]


@pytest.mark.parametrize("dtype", [tf.uint8, tf.int8])
def test_a_type_that_cannot_hold_the_bound_of_its_ids_is_no_fault(dtype):
    guard = traced({"ids": tf.TensorSpec([None], dtype)}, {"ids": 1000})
    assert guard([0, 127]) == [[0, 127]]


@pytest.mark.parametrize(
    ("declared", "id_bounds", "checks"),
    [({"ids": IDS}, {"ids": 3}, 1), ({"a": IDS, "b": MORE}, {}, 1), ({"a": IDS}, {}, 0)],
)
def test_nothing_computes_with_inputs_that_were_not_checked(declared, id_bounds, checks):
    with tf.Graph().as_default() as graph:
        received = {name: tf.compat.v1.placeholder(spec.dtype, None) for name, spec in declared.items()}
        passed = guard_inputs(received, declared, id_bounds)
    assert {len(tensor.op.control_inputs) for tensor in passed} == {checks}
    assert sum("assert" in operation.name.lower() for operation in graph.get_operations()) >= checks


@pytest.mark.parametrize("sizes", [(1, 2, 2), (2, 1, 2), (2, 2, 1), (0, 1, 1)])
def test_inputs_of_different_batch_sizes_are_refused_with_the_sizes(sizes):
    guard = traced({"pixels": PIXELS, "ids": IDS, "more": MORE}, {})
    pixels, ids, more = sizes
    with refused(
        rf"pixels, ids, more must all have the same number of examples; received:.*{pixels}\D+{ids}\D+{more}\D"
    ):
        guard(np.zeros((pixels, 2)), np.zeros(ids), np.zeros(more))


def test_two_inputs_alone_are_held_to_one_batch_size():
    guard = traced({"pixels": PIXELS, "more": MORE}, {})
    assert guard([[1, 2]], [3]) == [[[1, 2]], [3]]
    with refused("pixels, more must all have the same number of examples"):
        guard([[1, 2]], [3, 4])


@pytest.mark.parametrize("ids", [[0, 1, 2, 3], [3, 3], [0], []])
def test_ids_that_the_embedding_has_pass(ids):
    assert traced({"ids": IDS}, {"ids": 4})(ids) == [ids]


@pytest.mark.parametrize("ids", [[0, 4], [4, 4], [-1, 0], [-5, -1], [1000, 1]])
def test_ids_that_the_embedding_has_not_are_refused_with_the_extremes(ids):
    low, high = min(ids), max(ids)
    with refused(rf"ids must hold ids from 0 to 3; smallest and largest received:\D*{low}\D+{high}\D"):
        traced({"ids": IDS}, {"ids": 4})(ids)


@pytest.mark.parametrize(
    ("k", "examples", "each"),
    [
        (2, 3, [2, 2, 2]),
        ([2], 3, [2, 2, 2]),
        ([1, 2, 3], 3, [1, 2, 3]),
        (-7, 1, [-7]),
        ([5], 1, [5]),
        (2, 0, []),
        ([2], 0, []),
        ([], 0, []),
    ],
)
def test_every_form_of_k_becomes_one_for_each_example(k, examples, each):
    answer = spread(np.array(k, np.int32), np.zeros((examples, 7), np.float32))
    assert (answer.dtype, answer.numpy().tolist()) == (tf.int32, each)


@pytest.mark.parametrize("shape", [[2], [4], [0], [1, 1], [3, 1], [1, 3], [1, 1, 1]])
def test_k_of_any_other_shape_is_refused_with_what_was_received(shape):
    received = " ".join(map(str, shape))
    with refused(rf"one for each example; examples received:\D*3\D+shape of k received:\D*\[{received}\]"):
        spread(np.ones(shape, np.int32), np.zeros((3, 7), np.float32))
