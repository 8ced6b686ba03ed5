import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from signatures import Backbone, Batching, compose_signatures

INPUTS = {"features": tf.TensorSpec([None, 4], tf.float32)}


def slow_backbone(counter):
    """Answer with the input, and count runs and examples; slow, so that requests queue."""

    def backbone(features):
        # Depends on the input, so that it is not computed once and for all.
        heavy = tf.matmul(*[tf.fill([1000, 1000], features[0, 0])] * 2)
        with tf.control_dependencies([counter.assign_add([1, tf.shape(features)[0]])]):
            return features + 0 * heavy[0, 0]

    return backbone


@pytest.fixture
def counter():
    return tf.Variable([0, 0], dtype=tf.int32)


BATCHING = Batching(max_request_size=64, max_batch_size=16, batch_timeout_micros=5000, max_enqueued_batches=1000)


def test_good_requests_share_batches_and_bad_ones_harm_nobody(identity, serve, keep_k_largest, counter):
    backbone = Backbone(slow_backbone(counter), INPUTS, batching=BATCHING)
    call = serve(compose_signatures(backbone, identity), [counter])
    call("serving_default", {"features": np.zeros((1, 4), np.float32)})
    stop = threading.Event()
    refused = []

    def good(seed):
        generator = np.random.default_rng(seed)
        for _ in range(12):
            features = generator.random((int(generator.integers(1, 4)), 4), np.float32)
            k = generator.integers(0, 6, len(features)).astype(np.int32)
            key = ("serving_default", "fixed_k")[int(generator.integers(2))]
            answer = call(key, {"features": features} | ({"k": k} if key == "serving_default" else {}))
            expected = keep_k_largest(features, k if key == "serving_default" else 2)
            np.testing.assert_array_equal(answer["probabilities"], expected)

    def bad():
        while not stop.is_set():
            with pytest.raises(tf.errors.InvalidArgumentError):
                call("serving_default", {"features": np.zeros((2, 5), np.float32)})
            refused.append(1)
            time.sleep(0.005)

    with ThreadPoolExecutor(18) as pool:
        bad_ones = [pool.submit(bad) for _ in range(2)]
        good_ones = [pool.submit(good, seed) for seed in range(16)]
        try:
            for future in good_ones:
                future.result()
        finally:
            stop.set()
        for future in bad_ones:
            future.result()

    assert refused
    runs, examples = (int(count) for count in counter_in_session(call))
    assert examples / runs > 4


def counter_in_session(call):
    """Read the counter where the session keeps it: through the version that `call` belongs to."""
    session = call.__self__._session
    (variable,) = [op for op in session.graph.get_operations() if op.type == "VarHandleOp"]
    with session.graph.as_default():
        return session.run(tf.raw_ops.ReadVariableOp(resource=variable.outputs[0], dtype=tf.int32))


def test_a_request_larger_than_a_batch_is_split_and_one_larger_than_allowed_refused(identity, serve, counter):
    backbone = Backbone(tf.identity, INPUTS, batching=BATCHING)
    call = serve(compose_signatures(backbone, identity))
    features = np.random.default_rng(0).random((60, 4), np.float32)

    answer = call("serving_default", {"features": features, "k": np.int32(4)})["probabilities"]
    np.testing.assert_array_equal(answer, features)
    with pytest.raises(tf.errors.InvalidArgumentError, match="65 is larger than maximum input batch size 64"):
        call("serving_default", {"features": np.zeros((65, 4), np.float32)})


def test_overload_is_unavailable(identity, serve, counter):
    tight = Batching(
        max_request_size=1, max_batch_size=1, max_enqueued_batches=1, num_batch_threads=1, batch_timeout_micros=0
    )
    call = serve(compose_signatures(Backbone(slow_backbone(counter), INPUTS, batching=tight), identity), [counter])
    call("serving_default", {"features": np.zeros((1, 4), np.float32)})
    outcomes = []

    def ask(_):
        try:
            call("serving_default", {"features": np.zeros((1, 4), np.float32)})
            outcomes.append("OK")
        except tf.errors.OpError as error:
            outcomes.append(type(error).__name__)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(64)))
    assert set(outcomes) == {"OK", "UnavailableError"}


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ({"max_batch_size": 0}, "max_batch_size is 0"),
        ({"batch_timeout_micros": -1}, "batch_timeout_micros is -1"),
        ({"max_request_size": 8}, "max_request_size is 8"),
        ({"allowed_batch_sizes": (4, 2, 32)}, r"allowed_batch_sizes are \[4, 2, 32\]"),
        ({"allowed_batch_sizes": (1, 16)}, r"allowed_batch_sizes are \[1, 16\]"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(sizes, complaint):
    with pytest.raises(ValueError, match=complaint):
        Batching(**sizes)


def test_the_default_sizes_are_powers_of_two_up_to_the_largest():
    assert Batching(max_batch_size=24).sizes == (1, 2, 4, 8, 16, 24)
    assert Batching(max_batch_size=32).sizes == (1, 2, 4, 8, 16, 32)
