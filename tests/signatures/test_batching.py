import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from signatures import Backbone, Batching, ImageDecoding, compose_signatures

INPUTS = {"features": tf.TensorSpec([None, 4], tf.float32)}


def slow_backbone(counter, scores):
    """Answer with `scores(input)`, and count runs and examples; slow, so that requests queue."""

    def backbone(tensor):
        answer = scores(tensor)
        # Depends on the input, so that it is not computed once and for all.
        heavy = tf.matmul(*[tf.fill([1000, 1000], answer[0, 0])] * 2)
        with tf.control_dependencies([counter.assign_add([1, tf.shape(answer)[0]])]):
            return answer + 0 * heavy[0, 0]

    return backbone


@pytest.fixture
def counter():
    return tf.Variable([0, 0], dtype=tf.int32)


BATCHING = Batching(max_request_size=64, max_batch_size=16, batch_timeout_micros=5000, max_enqueued_batches=1000)


@dataclass(frozen=True)
class Tenants:
    """A kind of model, what good callers send it and what bad ones do."""

    backbone: Callable
    key: str
    good: Callable
    bad: dict


def of_tensors(counter):
    def good(generator, size):
        features = generator.random((size, 4), np.float32)
        return {"features": features}, features

    backbone = Backbone(slow_backbone(counter, tf.identity), INPUTS, batching=BATCHING)
    return Tenants(backbone, "serving_default", good, {"features": np.zeros((2, 5), np.float32)})


def of_pictures(counter):
    """A picture of 2x2 gray pixels is its four scores."""

    def good(generator, size):
        pixels = generator.integers(0, 256, (size, 2, 2), np.uint8)
        files = np.array([png(picture) for picture in pixels], object)
        return {"encoded_images": files}, (pixels.reshape(size, 4) / np.float32(255)).astype(np.float32)

    images = {"images": tf.TensorSpec([None, 2, 2, 1], tf.float32)}
    scores = slow_backbone(counter, lambda images: tf.reshape(images, [-1, 4]))
    backbone = Backbone(scores, images, image_decoding=ImageDecoding("unit"), batching=BATCHING)
    return Tenants(backbone, "encoded_images", good, {"encoded_images": np.array([b"no image"], object)})


def of_ids(counter):
    table = np.random.default_rng(1).random((10, 4), np.float32)

    def good(generator, size):
        ids = generator.integers(0, 10, (size, 1), np.int32)
        return {"ids": ids}, table[ids[:, 0]]

    scores = slow_backbone(counter, lambda ids: tf.gather(tf.constant(table), ids[:, 0]))
    backbone = Backbone(scores, {"ids": tf.TensorSpec([None, 1], tf.int32)}, id_bounds={"ids": 10}, batching=BATCHING)
    return Tenants(backbone, "serving_default", good, {"ids": np.array([[10]], np.int32)})


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize("kind", [of_tensors, of_pictures, of_ids], ids=lambda kind: kind.__name__)
def test_good_requests_share_batches_and_bad_ones_harm_nobody(kind, identity, serve, keep_k_largest, counter):
    tenants = kind(counter)
    call = serve(compose_signatures(tenants.backbone, identity), [counter])
    call(tenants.key, tenants.good(np.random.default_rng(99), 1)[0])
    stop = threading.Event()
    refused = []

    def good(seed):
        generator = np.random.default_rng(seed)
        for _ in range(8):
            inputs, dense = tenants.good(generator, int(generator.integers(1, 4)))
            k = generator.integers(0, 6, len(dense)).astype(np.int32)
            mixed = generator.random() < 0.5
            answer = call(tenants.key, {**inputs, "k": k} if mixed else inputs)
            # The optimizer makes of a division by 255 a multiplication: the last bit may differ.
            np.testing.assert_allclose(answer["probabilities"], keep_k_largest(dense, k if mixed else 2), rtol=1e-6)

    def bad():
        while not stop.is_set():
            with pytest.raises(tf.errors.InvalidArgumentError):
                call(tenants.key, tenants.bad)
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
    runs, examples = counted(call)
    # Batches are padded to the allowed sizes, so this says a little more than was asked.
    assert examples / runs > 4


def counted(call):
    """Read the counter where the session keeps it: through the version that `call` belongs to."""
    session = call.version._session._session
    (variable,) = [op for op in session.graph.get_operations() if op.type == "VarHandleOp"]
    with session.graph.as_default():
        return session.run(tf.raw_ops.ReadVariableOp(resource=variable.outputs[0], dtype=tf.int32)).tolist()


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
    call = serve(
        compose_signatures(Backbone(slow_backbone(counter, tf.identity), INPUTS, batching=tight), identity), [counter]
    )
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
        ({"pad_to": (16, 8)}, r"pad_to is \[16, 8\]"),
        ({"pad_to": (0, 8)}, r"pad_to is \[0, 8\]"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(sizes, complaint):
    with pytest.raises(ValueError, match=complaint):
        Batching(**sizes)


def test_the_default_sizes_are_powers_of_two_up_to_the_largest():
    assert Batching(max_batch_size=24).sizes == (1, 2, 4, 8, 16, 24)
    assert Batching(max_batch_size=32).sizes == (1, 2, 4, 8, 16, 32)


WORDS = {"words": tf.TensorSpec([None, None], tf.string), "ids": tf.TensorSpec([None, None], tf.int64)}
PADDED = replace(BATCHING, pad_to=(4, 8, 16))


def count_what_is_not_padding(words, ids):
    """Scores that padding with empty strings and zeros leaves alone, and that say by how much was padded."""
    real = tf.reduce_sum(tf.cast(words != "", tf.float32), axis=1)
    total = tf.cast(tf.reduce_sum(ids, axis=1), tf.float32)
    shape = [tf.shape(words)[0], 1]
    return tf.concat([*(tf.reshape(each, shape) for each in (real, total)), tf.ones(shape), tf.zeros(shape)], axis=1)


def test_requests_of_different_lengths_meet_padded_and_never_in_each_others_way(identity, serve):
    call = serve(compose_signatures(Backbone(count_what_is_not_padding, WORDS, batching=PADDED), identity))

    def ask(seed):
        generator = np.random.default_rng(seed)
        size, lengths = int(generator.integers(1, 4)), generator.integers(1, 17, 2)
        ids = generator.integers(1, 9, (size, lengths[0]))
        words = np.full((size, lengths[1]), b"word", object)
        k = generator.integers(0, 5, size).astype(np.int32)
        dense = np.stack([np.full(size, lengths[1]), ids.sum(axis=1), np.ones(size), np.zeros(size)], axis=1)
        answer = call("serving_default", {"words": words, "ids": ids, "k": k})["probabilities"]
        order = np.argsort(np.argsort(-dense, axis=1, kind="stable"), axis=1)
        np.testing.assert_array_equal(answer, np.where(order < k[:, None], dense, 0))

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(ask, range(120)))


def test_a_request_longer_than_the_last_length_is_refused_alone(identity, serve):
    call = serve(compose_signatures(Backbone(count_what_is_not_padding, WORDS, batching=PADDED), identity))
    words, ids = np.full((1, 3), b"word", object), np.ones((1, 17), np.int64)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"a length of 16 at most; received:\] \[17\]"):
        call("serving_default", {"words": words, "ids": ids})
    assert call("serving_default", {"words": words, "ids": ids[:, :16]})["probabilities"].tolist() == [[3, 16, 0, 0]]


@pytest.mark.parametrize(
    ("inputs", "batching", "complaint"),
    [
        (WORDS, BATCHING, r"words has the shape \(None, None\).* pass --pad-to 16,32,64 .*, or --batching none"),
        (INPUTS, PADDED, "nothing to pad: leave out --pad-to"),
    ],
    ids=["no length to pad to", "nothing to pad"],
)
def test_batching_that_would_fail_requests_is_refused(inputs, batching, complaint, identity):
    with pytest.raises(ValueError, match=complaint):
        compose_signatures(Backbone(count_what_is_not_padding, inputs, batching=batching), identity)


def test_the_batching_op_carries_the_models_name_so_that_metrics_tell_models_apart(identity, serve):
    call = serve(compose_signatures(Backbone(tf.identity, INPUTS, batching=BATCHING), identity))
    graph = call.version.graph_def
    named = {
        node.name for function in graph.library.function for node in function.node_def if node.op == "BatchFunction"
    }
    assert named == {"toy_backbone"}
