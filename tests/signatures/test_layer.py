import keras
import numpy as np
import pytest
import tensorflow as tf

from signatures.layer import SparsifyTopK

ROWS = np.array([[0.7, 0.1, 0.9, 0.3], [0.2, 0.2, 0.2, 0.2]], np.float32)


def answers_function(x, n):
    """How the answer's Lambda layer reads: what lies below the n-th smallest score, of the first row, becomes zero."""
    threshold = tf.sort(x)[0][n]
    return tf.where(x < threshold, tf.zeros_like(x), x)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"k": 0}, [[0, 0, 0, 0], [0, 0, 0, 0]]),
        ({"k": 2}, [[0.7, 0, 0.9, 0], [0.2, 0.2, 0, 0]]),
        ({"k": 9}, ROWS),
        ({"n_to_zero": 0}, ROWS),
        ({"n_to_zero": 1}, [[0.7, 0, 0.9, 0.3], [0.2, 0.2, 0.2, 0]]),
        ({"n_to_zero": 9}, [[0, 0, 0, 0], [0, 0, 0, 0]]),
    ],
)
def test_the_largest_stay_and_the_rest_become_zero(arguments, expected):
    np.testing.assert_array_equal(SparsifyTopK(**arguments)(ROWS), np.array(expected, np.float32))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_every_float_type_goes_through_unchanged(dtype):
    scores = tf.cast(ROWS, dtype)
    sparse = SparsifyTopK(k=2, dtype=dtype)(scores)
    kept = tf.constant([[1, 0, 1, 0], [1, 1, 0, 0]], dtype)
    assert sparse.dtype == scores.dtype
    assert tf.reduce_all(sparse == scores * kept)


@pytest.mark.parametrize("shape", [(4,), (3, 2, 4), (0, 4)])
def test_any_rank_keeps_its_shape(shape):
    scores = np.random.default_rng(0).random(shape, np.float32)
    sparse = SparsifyTopK(k=1)(scores)
    assert sparse.shape == shape
    np.testing.assert_array_equal(np.count_nonzero(sparse, axis=-1), np.ones(shape[:-1]))


@pytest.mark.parametrize("arguments", [{"k": 2}, {"n_to_zero": 6}])
def test_a_saved_model_loads_in_safe_mode_and_answers_the_same(arguments, tmp_path):
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(8, activation="sigmoid"), SparsifyTopK(name="head", **arguments)]
    )
    inputs = np.random.default_rng(0).random((3, 5), np.float32)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_array_equal(loaded(inputs), model(inputs))
    np.testing.assert_array_equal(np.count_nonzero(loaded(inputs), axis=1), [2, 2, 2])
    assert loaded.get_layer("head").get_config() == model.get_layer("head").get_config()


def test_gradients_flow_through_what_is_kept_alone():
    scores = tf.Variable(ROWS)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(SparsifyTopK(k=2)(scores) * [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(tape.gradient(loss, scores), [[1, 0, 3, 0], [1, 2, 0, 0]])


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("arguments", [{"k": 2}, {"n_to_zero": 6}])
def test_a_model_that_ends_in_it_trains(arguments, jit_compile):
    random = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "sigmoid"), SparsifyTopK(**arguments)])
    before = [np.array(weight) for weight in model.get_weights()]
    model.compile("sgd", "mse", jit_compile=jit_compile)
    # The last batch is smaller than the others.
    model.fit(random.random((9, 4)), random.random((9, 8)), batch_size=4, verbose=0)
    assert all((now != then).any() for now, then in zip(model.get_weights(), before, strict=True))
    assert np.isfinite(model.get_weights()[0]).all()


def test_the_symbolic_output_has_the_shape_of_the_input():
    assert SparsifyTopK(k=2)(keras.Input((3, 8))).shape == (None, 3, 8)
    assert SparsifyTopK(n_to_zero=2).compute_output_shape((None, 8)) == (None, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "received"),
    [
        ({}, ValueError, "neither"),
        ({"k": 2, "n_to_zero": 2}, ValueError, "both"),
        ({"k": -1}, ValueError, "k = -1"),
        ({"n_to_zero": -3}, ValueError, "n_to_zero = -3"),
        ({"k": 2.0}, TypeError, "k = 2.0"),
        ({"n_to_zero": True}, TypeError, "n_to_zero = True"),
    ],
)
def test_a_count_that_makes_no_sense_is_refused_in_one_sentence(arguments, error, received):
    with pytest.raises(error, match=rf"^SparsifyTopK [^\n]*{received}[^\n]*\.$"):
        SparsifyTopK(**arguments)


@pytest.mark.parametrize("n", [2, 4])
def test_for_distinct_scores_and_a_batch_of_one_it_equals_the_answers_function(n):
    random = np.random.default_rng(0)
    for _ in range(50):
        scores = random.permutation(1000)[np.newaxis, :8].astype(np.float32) / 1000
        ours = SparsifyTopK(n_to_zero=n)(scores)
        np.testing.assert_array_equal(ours, answers_function(scores, n))
        np.testing.assert_array_equal(ours, SparsifyTopK(k=8 - n)(scores))


def test_the_answers_function_measures_a_second_row_by_the_first_and_keeps_every_tie():
    two_rows = np.array([[0.9, 0.8, 0.7, 0.6], [0.4, 0.3, 0.2, 0.1]], np.float32)
    assert np.count_nonzero(answers_function(two_rows, 2), axis=1).tolist() == [2, 0]
    assert np.count_nonzero(SparsifyTopK(n_to_zero=2)(two_rows), axis=1).tolist() == [2, 2]

    ties = np.full([1, 4], 0.5, np.float32)
    assert np.count_nonzero(answers_function(ties, 2)) == 4
    assert np.count_nonzero(SparsifyTopK(n_to_zero=2)(ties)) == 2
