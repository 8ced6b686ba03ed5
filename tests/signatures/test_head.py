import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from signatures import rank_top_k, sparsify_top_k

DTYPES = {"float16": tf.float16, "bfloat16": tf.bfloat16, "float32": tf.float32, "float64": tf.float64}
# Few values, so that ties are the rule; infinities and negative ones because a head may be put anywhere.
SCORES = st.sampled_from([0.0, 0.25, 0.5, 0.5, 0.75, 1.0, -1.0, float("inf"), float("nan"), -float("nan")])


def oracle(rows, ks):
    """The head in ten lines: rank by NaN first, then falling score, then index, and keep the first k."""
    out = np.zeros_like(rows)
    for row, k, kept in zip(rows, ks, out, strict=True):
        order = sorted(range(len(row)), key=lambda i: (not np.isnan(row[i]), -row[i] if row[i] == row[i] else 0, i))
        for index in order[: max(k, 0)]:
            kept[index] = row[index]
    return out


@pytest.mark.usefixtures("rows")
@settings(max_examples=1200)
@given(data=st.data(), dtype=st.sampled_from(sorted(DTYPES)))
def test_agrees_with_the_oracle(data, dtype):
    lead = data.draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    labels = data.draw(st.integers(1, 9))
    scores = data.draw(hnp.arrays(np.float32, (*lead, labels), elements=SCORES | st.floats(0, 1, width=16)))
    per_row = data.draw(st.booleans())
    k = data.draw(hnp.arrays(np.int32, lead if per_row else (), elements=st.integers(-2, labels + 2)))

    tensor = tf.cast(tf.constant(scores), DTYPES[dtype])
    answer = sparsify_top_k(tensor, tf.constant(k))

    assert answer.dtype == DTYPES[dtype]
    assert answer.shape == scores.shape
    rows = tf.cast(tensor, tf.float64).numpy().reshape(-1, labels)
    expected = oracle(rows, np.broadcast_to(k, lead).reshape(-1))
    got = tf.cast(answer, tf.float64).numpy().reshape(-1, labels)
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("k", [-1, 0, 1, 2, 3, 7, 8, 9])
def test_all_scores_equal_keeps_exactly_k_at_the_lowest_indices(k):
    answer = sparsify_top_k(tf.fill([5, 8], 0.5), tf.constant(k)).numpy()

    kept = min(max(k, 0), 8)
    assert (answer[:, :kept] == 0.5).all()
    assert (answer[:, kept:] == 0).all()


@pytest.mark.parametrize("dtype", [tf.int8, tf.uint8, tf.int16, tf.uint32, tf.int64, tf.uint64])
def test_k_of_a_type_that_cannot_hold_the_number_of_labels_kept_too_few(dtype):
    scores = tf.constant(np.random.default_rng(0).random((2, 300), np.float32))

    for k in (100, dtype.max):
        kept = tf.math.count_nonzero(sparsify_top_k(scores, tf.constant(k, dtype)), axis=1)
        assert kept.numpy().tolist() == [min(k, 300)] * 2


def test_a_float64_score_that_equals_its_bound_was_below_it():
    scores = tf.constant([[0.1, 0.7, 0.3]], tf.float64)

    assert sparsify_top_k(scores, 3, min_score=0.1).numpy().tolist() == [[0.1, 0.7, 0.3]]


def test_nan_is_kept_first_wherever_it_is():
    scores = np.full((16, 16), 0.9, np.float32)
    np.fill_diagonal(scores, np.nan)

    answer = sparsify_top_k(tf.constant(scores), tf.constant(1)).numpy()

    assert np.isnan(np.diag(answer)).all()
    assert np.count_nonzero(answer) == 16


def test_gradient_flows_through_what_is_kept_alone():
    scores = tf.constant([[0.1, 0.9, 0.5, 0.7], [0.4, 0.3, 0.2, 0.1]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        total = tf.reduce_sum(sparsify_top_k(scores, tf.constant([2, 1])) * [[1.0, 2.0, 3.0, 4.0]])

    gradient = tf.convert_to_tensor(tape.gradient(total, scores))
    np.testing.assert_array_equal(gradient, [[0, 2, 0, 4], [1, 0, 0, 0]])


def test_ranks_in_falling_order_and_says_what_each_row_keeps():
    top = rank_top_k(tf.constant([[0.1, 0.9, 0.9], [0.3, 0.2, 0.1]]), tf.constant([1, 2]))

    np.testing.assert_array_equal(top.indices, [[1, 2], [0, 1]])
    np.testing.assert_array_equal(top.kept, [[True, False], [True, True]])
    np.testing.assert_allclose(top.scores, [[0.9, 0.9], [0.3, 0.2]])


def test_an_empty_batch_stays_empty():
    assert sparsify_top_k(tf.zeros([0, 8]), tf.constant(2)).shape == (0, 8)
    assert sparsify_top_k(tf.zeros([0, 8]), tf.zeros([0], tf.int32)).shape == (0, 8)


def test_a_large_k_of_64_bits_keeps_all():
    scores = tf.constant([[0.1, 0.2]])
    np.testing.assert_array_equal(sparsify_top_k(scores, tf.constant(2**40, tf.int64)), scores)


def test_k_that_fits_no_row_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError):
        sparsify_top_k(tf.zeros([5, 8]), tf.constant([1, 2, 3]))


@pytest.mark.parametrize("k", [0, 1, 5, 40, 2000])
def test_long_rows_with_many_ties_agree_with_the_oracle(k):
    generator = np.random.default_rng(k)
    scores = generator.choice(np.array([0.1, 0.2, 0.3, np.nan], np.float32), (3, 5000), p=[0.7, 0.28, 0.01, 0.01])

    answer = sparsify_top_k(tf.constant(scores), tf.constant([k, 7, 0])).numpy()

    np.testing.assert_array_equal(answer, oracle(scores, [k, 7, 0]))


@pytest.mark.usefixtures("rows")
@pytest.mark.parametrize(("k", "width"), [([0, 0], 0), ([-5, 0], 0), ([1, 0], 1), ([2, 4], 4), ([9, 1], 4)])
def test_ranks_as_many_as_the_largest_k_of_the_batch(k, width):
    scores = tf.constant([[0.1, 0.4, 0.2, 0.3], [0.4, 0.3, 0.2, 0.1]])
    top = rank_top_k(scores, tf.constant(k))

    assert top.indices.shape == top.scores.shape == top.kept.shape == (2, width)
    np.testing.assert_array_equal(top.indices, np.array([[1, 3, 2, 0], [0, 1, 2, 3]])[:, :width])
    np.testing.assert_array_equal(tf.reduce_sum(tf.cast(top.kept, tf.int32), axis=1), np.clip(k, 0, 4))


@pytest.mark.parametrize("labels", [999, 1000, 3999, 4000, 4001])
@pytest.mark.parametrize("bad", [0.5, np.nan, np.inf])
def test_rows_about_as_long_as_where_another_form_takes_over_agree_with_the_oracle(labels, bad):
    scores = np.random.default_rng(labels).choice(np.linspace(0, 1, 50, dtype=np.float32), (2, labels))
    scores[1, -1] = bad

    answer = sparsify_top_k(tf.constant(scores), tf.constant([3, 70])).numpy()

    np.testing.assert_array_equal(answer, oracle(scores, [3, 70]))
