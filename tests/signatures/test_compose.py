import json
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf

from signatures import Backbone, compose_signatures

INPUTS = {"features": tf.TensorSpec([None, 4], tf.float32)}
FEATURES = np.random.default_rng(0).random((5, 4), np.float32)


@pytest.fixture
def toy(identity, serve):
    """A backbone that answers with its input: every score is known."""
    return serve(compose_signatures(Backbone(tf.identity, INPUTS), identity))


@pytest.mark.parametrize("k", [None, 0, 1, 2, 4, 9, -3, [3], [0, 1, 2, 3, 9]])
def test_every_form_of_k_keeps_the_k_largest(toy, keep_k_largest, k):
    inputs = {"features": FEATURES} | ({} if k is None else {"k": np.array(k, np.int32)})
    meant = np.broadcast_to(np.clip(2 if k is None else k, 0, 4), 5)
    expected = keep_k_largest(FEATURES, meant)

    np.testing.assert_array_equal(toy("serving_default", inputs)["probabilities"], expected)
    top = toy("top_k", inputs)
    assert top["indices"].shape == top["scores"].shape == top["labels"].shape == (5, meant.max())
    for row in range(5):
        best = np.argsort(-FEATURES[row], kind="stable")[: meant[row]]
        unused = meant.max() - meant[row]
        np.testing.assert_array_equal(top["indices"][row], [*best, *[-1] * unused])
        np.testing.assert_array_equal(top["scores"][row], [*FEATURES[row][best], *[0] * unused])
        assert [label.decode() for label in top["labels"][row]] == ["abcd"[i] for i in best] + [""] * unused


def test_all_scores_equal_keep_exactly_k(toy):
    answer = toy("serving_default", {"features": np.full((5, 4), 0.5, np.float32)})["probabilities"]
    np.testing.assert_array_equal(answer, [[0.5, 0.5, 0, 0]] * 5)


@pytest.mark.parametrize("shape", [[3], [5, 1], [0], [1, 1]])
@pytest.mark.parametrize("key", ["serving_default", "top_k"])
def test_a_k_that_fits_no_batch_is_refused_by_name(toy, key, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"k must be a scalar.*one for each example"):
        toy(key, {"features": FEATURES, "k": np.ones(shape, np.int32)})


def test_limits_that_do_not_fit_cost_no_run_of_the_backbone(identity):
    signature = compose_signatures(Backbone(tf.math.erf, INPUTS), identity)[0]
    operations = signature.function.get_concrete_function().graph.get_operations()
    (call,) = (each for each in operations if "Call" in each.type and b"backbone" in each.get_attr("f").name.encode())
    waits_for = [each.name for each in call.inputs[0].op.control_inputs]
    assert len(waits_for) == 2, waits_for


@pytest.mark.parametrize("key", ["serving_default", "top_k", "fixed_k"])
@pytest.mark.parametrize("shape", [[4], [2, 3], [2, 4, 1], []])
def test_a_wrong_shape_is_refused_naming_the_expected_one(toy, key, shape):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[\?,4\]"):
        toy(key, {"features": np.zeros(shape, np.float32), **({} if key == "fixed_k" else {"k": np.int32(1)})})


def test_fixed_k_takes_no_k_and_keeps_the_exported_one(toy, keep_k_largest):
    answer = toy("fixed_k", {"features": FEATURES})["probabilities"]
    np.testing.assert_array_equal(answer, keep_k_largest(FEATURES, 2))


def test_export_info_answers_once_a_probe(toy):
    answer = toy("export_info", {"probe": np.zeros(3, np.int32)})

    assert answer["export_id"].tolist() == [b"id-1"] * 3
    assert answer["k"].tolist() == [2] * 3
    assert json.loads(answer["labels"][0]) == ["a", "b", "c", "d"]
    assert json.loads(answer["preprocessing"][0]) is None
    assert answer["golden_digest"].tolist() == [b"digest"] * 3
    assert toy("export_info", {})["model"].tolist() == [b"toy"]


def example(features, k=None):
    feature = {"features": tf.train.Feature(float_list=tf.train.FloatList(value=features))}
    if k is not None:
        feature["k"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[k]))
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def test_classify_takes_k_from_each_example(toy):
    answer = toy("classify", {"inputs": np.array([example([0.1, 0.9, 0.3, 0.2], k) for k in (None, 1, 2**40)], object)})

    assert answer["classes"].tolist() == [
        [b"b", b"c", b"", b""],
        [b"b", b"", b"", b""],
        [b"b", b"c", b"d", b"a"],
    ]
    np.testing.assert_allclose(answer["scores"][0], [0.9, 0.3, 0, 0])


def test_classify_refuses_what_is_no_example(toy):
    with pytest.raises(tf.errors.InvalidArgumentError, match="Could not parse example"):
        toy("classify", {"inputs": np.array([b"nonsense"], object)})


def test_an_empty_batch_gets_an_empty_answer(toy):
    assert toy("serving_default", {"features": np.zeros((0, 4), np.float32)})["probabilities"].shape == (0, 4)


def test_signatures_can_be_picked_and_the_two_that_everything_needs_stay(identity):
    keys = [each.key for each in compose_signatures(Backbone(tf.identity, INPUTS), identity, ["top_k"])]
    assert keys == ["serving_default", "top_k", "export_info"]


def test_a_signature_that_the_model_cannot_have_is_refused(identity):
    with pytest.raises(ValueError, match="encoded_images"):
        compose_signatures(Backbone(tf.identity, INPUTS), identity, ["encoded_images"])


class TestSeveralInputs:
    INPUTS: ClassVar = {"scores": tf.TensorSpec([None, 4], tf.float32), "ids": tf.TensorSpec([None, 1], tf.int32)}

    @pytest.fixture
    def toy(self, identity, serve):
        table = tf.Variable(np.eye(3, 4, dtype=np.float32))
        backbone = Backbone(lambda scores, ids: scores + tf.gather(table, ids[:, 0]), self.INPUTS, id_bounds={"ids": 3})
        return serve(compose_signatures(backbone, identity), [table])

    def test_are_called_by_name(self, toy):
        answer = toy("serving_default", {"scores": np.zeros((2, 4), np.float32), "ids": np.array([[2], [0]], np.int32)})
        np.testing.assert_array_equal(answer["probabilities"], [[0, 0, 1, 0], [1, 0, 0, 0]])

    def test_of_different_batch_sizes_are_refused(self, toy):
        with pytest.raises(
            tf.errors.InvalidArgumentError, match="scores, ids must all have the same number of examples"
        ):
            toy("serving_default", {"scores": np.zeros((2, 4), np.float32), "ids": np.zeros((1, 1), np.int32)})

    @pytest.mark.parametrize("bad", [-1, 3, 1000])
    def test_an_id_that_the_embedding_has_not_is_refused(self, toy, bad):
        with pytest.raises(tf.errors.InvalidArgumentError, match="ids must hold ids from 0 to 2"):
            toy("serving_default", {"scores": np.zeros((2, 4), np.float32), "ids": np.array([[0], [bad]], np.int32)})


@pytest.mark.parametrize(
    ("dtype", "fits", "wraps"), [("int32", 3, 2**32 + 3), ("uint8", 255, 259), ("int16", -5, 2**15)]
)
def test_classify_took_an_integer_that_the_model_cannot_hold_for_another(dtype, fits, wraps, identity, serve):
    def scores(ids):
        return tf.cast(tf.tile(ids, [1, 4]), tf.float32)

    inputs = {"ids": tf.TensorSpec([None, 1], dtype)}
    call = serve(compose_signatures(Backbone(scores, inputs), identity))

    def ask(number):
        feature = {"ids": tf.train.Feature(int64_list=tf.train.Int64List(value=[number]))}
        serialized = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
        return call("classify", {"inputs": np.array([serialized], object)})["scores"]

    np.testing.assert_array_equal(ask(fits), [[fits, fits]])
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"ids must hold numbers from .*received:.*{wraps}"):
        ask(wraps)
