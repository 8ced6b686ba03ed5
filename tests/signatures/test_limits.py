"""k, min_score and thresholds together, against an oracle in numpy: eagerly, and loaded as a server loads."""

import json

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from signatures import Backbone, Batching, Identity, compose_signatures, rank_top_k, sparsify_top_k
from signatures.head import kept_first

# Few values, so that scores tie with each other and with bounds.
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0, -1.0, float("inf"), float("nan")]) | st.floats(0, 1, width=16)
BOUNDS = st.sampled_from([0.0, -1.0, -0.5, 0.25, 0.5, 0.75, 1.0, 2.0])
LABELS = ("a", "b", "c", "d")
INPUTS = {"features": tf.TensorSpec([None, len(LABELS)], tf.float32)}
# With a bound that nothing reaches, ties with scores, and one that bounds nothing.
THRESHOLDS = (0.5, 0.0, 0.75, 1.5)


def oracle(rows, ks, min_scores, thresholds):
    """What each row keeps, best first."""
    kept = []
    for row, k, min_score in zip(rows, ks, min_scores, strict=True):
        bounds = np.maximum(np.float32(min_score), np.array(thresholds, np.float32))
        order = np.lexsort((np.arange(len(row)), -row, ~np.isnan(row)))[: max(k, 0)]
        below = (row < bounds) & (bounds > 0)
        kept.append([int(index) for index in order if not below[index]])
    return kept


def sparse(rows, kept):
    out = np.zeros_like(rows)
    for row, indices, into in zip(rows, kept, out, strict=True):
        into[indices] = row[indices]
    return out


@pytest.mark.usefixtures("rows")
@settings(max_examples=1200)
@given(data=st.data())
def test_eagerly_the_head_agrees_with_the_oracle(data):
    batch, labels = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 9))
    scores = data.draw(hnp.arrays(np.float32, (batch, labels), elements=SCORES))
    k = data.draw(hnp.arrays(np.int32, batch, elements=st.integers(-2, labels + 2)))
    min_score = data.draw(hnp.arrays(np.float32, batch, elements=BOUNDS | st.floats(0, 1, width=16)))
    thresholds = data.draw(st.none() | st.lists(BOUNDS, min_size=labels, max_size=labels))

    expected = oracle(scores, k, min_score, thresholds or [0.0] * labels)
    limits = (tf.constant(k), tf.constant(min_score), thresholds)
    np.testing.assert_array_equal(sparsify_top_k(tf.constant(scores), *limits), sparse(scores, expected))
    top = kept_first(rank_top_k(tf.constant(scores), *limits))
    for indices, kept, wanted in zip(top.indices.numpy(), top.kept.numpy(), expected, strict=True):
        assert indices[: len(wanted)].tolist() == wanted
        assert kept.tolist() == [place < len(wanted) for place in range(len(kept))]


@pytest.fixture
def exported(serve):
    """A function that returns what calls an export of a backbone that answers with its input."""

    def make(batching=None, **limits):
        identity = Identity(lambda: tf.constant("id"), "toy", 2, LABELS, None, "digest", **limits)
        return serve(compose_signatures(Backbone(tf.identity, INPUTS, batching=batching), identity))

    return make


@settings(max_examples=2000, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def check_against_oracle(calls, data):
    thresholds, default = data.draw(st.sampled_from(sorted(calls)))
    call = calls[thresholds, default]
    batch = data.draw(st.integers(0, 3))
    scores = data.draw(hnp.arrays(np.float32, (batch, len(LABELS)), elements=SCORES))
    k = data.draw(st.none() | st.integers(-2, 6) | hnp.arrays(np.int32, batch, elements=st.integers(-2, 6)))
    min_score = data.draw(st.none() | BOUNDS | hnp.arrays(np.float32, batch, elements=BOUNDS))
    given = {"k": (k, np.int32), "min_score": (min_score, np.float32)}
    sent = {name: np.array(value, dtype) for name, (value, dtype) in given.items() if value is not None}

    each_k = np.broadcast_to(2 if k is None else k, batch)
    each_bound = np.broadcast_to(default if min_score is None else min_score, batch)
    expected = oracle(scores, each_k, each_bound, thresholds or [0.0] * len(LABELS))
    answer = call("serving_default", {"features": scores, **sent})["probabilities"]
    np.testing.assert_array_equal(answer, sparse(scores, expected))
    top = call("top_k", {"features": scores, **sent})
    width = int(np.clip(each_k, 0, len(LABELS)).max(initial=0))
    assert top["indices"].shape == (batch, width)
    for row, kept in enumerate(expected):
        unused = width - len(kept)
        assert top["indices"][row].tolist() == kept + [-1] * unused
        np.testing.assert_array_equal(top["scores"][row], [*scores[row][kept], *[0] * unused])
        assert top["labels"][row].tolist() == [LABELS[index].encode() for index in kept] + [b""] * unused


def test_loaded_as_a_server_loads_every_form_agrees_with_the_oracle(exported):
    settings_ = [((), 0.0), ((), 0.5), (THRESHOLDS, 0.0), (THRESHOLDS, 0.5)]
    check_against_oracle({(each, default): exported(thresholds=each, min_score=default) for each, default in settings_})


def test_without_bounds_every_bit_is_as_before():
    scores = np.random.default_rng(0).random((64, 50), np.float32)
    k = np.arange(64, dtype=np.int32)
    plain = sparsify_top_k(tf.constant(scores), tf.constant(k)).numpy()
    for bounds in ((tf.constant(0.0), None), (tf.constant(-3.0), [0.0] * 50), (tf.zeros([64]), [-1.0] * 50)):
        answer = sparsify_top_k(tf.constant(scores), tf.constant(k), *bounds).numpy()
        assert answer.tobytes() == plain.tobytes()


FEATURES = np.array([[0.5, 0.25, 0.75, 0.125], [0.9, 0.5, 0.7, 0.6]], np.float32)


def test_fixed_k_has_the_exported_limits(exported):
    answer = exported(min_score=0.6, thresholds=(0.95, 0.0, 0.0, 0.0))("fixed_k", {"features": FEATURES})
    np.testing.assert_array_equal(answer["probabilities"], [[0, 0, FEATURES[0, 2], 0], [0, 0, FEATURES[1, 2], 0]])


def test_only_an_export_with_thresholds_answers_with_dense_scores_whatever_they_are(exported):
    dense = exported(min_score=0.6, thresholds=THRESHOLDS)("dense", {"features": FEATURES})["dense_probabilities"]
    np.testing.assert_array_equal(dense, FEATURES)
    assert "dense" not in exported(min_score=0.6).version.signatures


def test_dense_scores_are_served_whichever_signatures_are_picked():
    identity = Identity(lambda: tf.constant("id"), "toy", 2, LABELS, None, "digest", thresholds=THRESHOLDS)
    keys = [each.key for each in compose_signatures(Backbone(tf.identity, INPUTS), identity, ["top_k"])]
    assert keys == ["serving_default", "top_k", "dense", "export_info"]


def test_export_info_says_the_limits(exported):
    answer = exported(min_score=0.25, thresholds=THRESHOLDS)("export_info", {"probe": np.zeros(2, np.int32)})
    assert answer["min_score"].tolist() == [0.25] * 2
    assert json.loads(answer["thresholds"][1]) == list(THRESHOLDS)
    assert json.loads(exported()("export_info", {})["thresholds"][0]) == []


@pytest.mark.parametrize("shape", [[3], [2, 1], [0], [1, 1]])
def test_a_min_score_that_fits_no_batch_is_refused_by_name(exported, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"min_score must be a scalar.*one for each example"):
        exported()("top_k", {"features": FEATURES, "min_score": np.ones(shape, np.float32)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, [0.5, np.nan]])
def test_a_min_score_that_is_not_finite_is_refused(exported, value):
    with pytest.raises(tf.errors.InvalidArgumentError, match="min_score must be a finite number"):
        exported()("serving_default", {"features": FEATURES, "min_score": np.array(value, np.float32)})


def example(features, **limits):
    values = {"features": tf.train.Feature(float_list=tf.train.FloatList(value=features))}
    if "k" in limits:
        values["k"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[limits["k"]]))
    if "min_score" in limits:
        values["min_score"] = tf.train.Feature(float_list=tf.train.FloatList(value=[limits["min_score"]]))
    return tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()


def classes(call, *examples):
    return call("classify", {"inputs": np.array(examples, object)})["classes"].tolist()


def test_classify_takes_min_score_from_each_example_and_answers_with_fewer_classes(exported):
    call = exported(min_score=0.6)
    assert classes(call, example(FEATURES[0])) == [[b"c"]]
    assert classes(call, example(FEATURES[0], min_score=2.0)) == [[]]
    assert classes(call, example(FEATURES[0], k=4, min_score=0.0), example(FEATURES[1], k=4, min_score=0.7)) == [
        [b"c", b"a", b"b", b"d"],
        [b"a", b"c", b"", b""],
    ]
    assert classes(exported(thresholds=(0.95, 0.0, 0.0, 0.0)), example(FEATURES[1])) == [[b"c"]]
    with pytest.raises(tf.errors.InvalidArgumentError, match="min_score must be a finite number"):
        classes(call, example(FEATURES[0], min_score=np.nan))


def test_a_smaller_score_never_moves_up_for_what_a_threshold_takes_away(exported):
    top = exported(thresholds=(0.95, 0.0, 0.0, 0.0))("top_k", {"features": FEATURES, "k": np.int32(2)})
    assert top["indices"].tolist() == [[2, -1], [2, -1]]
    assert top["labels"].tolist() == [[b"c", b""], [b"c", b""]]


def test_requests_that_share_a_run_keep_their_own_limits(exported):
    from concurrent.futures import ThreadPoolExecutor

    # Two requests fill a batch, and a batch waits until it is full: each pair shares one run.
    batching = Batching(max_batch_size=4, allowed_batch_sizes=(4,), batch_timeout_micros=5_000_000)
    call = exported(batching=batching, thresholds=THRESHOLDS)
    asked = [
        {"k": np.int32(4), "min_score": np.float32(0.5)},
        {"k": np.array([1, 3], np.int32), "min_score": np.array([0.0, 0.65], np.float32)},
    ]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda limits: call("serving_default", {"features": FEATURES, **limits}), asked))
    for limits, answer in zip(asked, answers, strict=True):
        kept = oracle(FEATURES, np.broadcast_to(limits["k"], 2), np.broadcast_to(limits["min_score"], 2), THRESHOLDS)
        np.testing.assert_array_equal(answer["probabilities"], sparse(FEATURES, kept))
