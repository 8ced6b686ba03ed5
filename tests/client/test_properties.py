"""What must hold of any value."""

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the values")

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from client.bench.histogram import Histogram
from client.rpc.codec import decode_tensor, encode_tensor
from client.rpc.messages import TensorProto
from signatures.contract.judge import judge_dense, judge_listed, judge_sparse
from signatures.contract.tolerances import Tolerance

N = 8
LABELS = np.array([label.encode() for label in "abcdefgh"], object)
NUMPY_TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


def through(value):
    return decode_tensor(TensorProto.FromString(b"".join(encode_tensor(value))))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(NUMPY_TYPES).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    )
)
def test_what_is_encoded_is_decoded_to_the_same_bits(array):
    decoded = through(array)
    assert decoded.dtype == array.dtype
    assert decoded.shape == array.shape
    assert decoded.tobytes() == array.tobytes()


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.binary(max_size=9)))
def test_strings_keep_every_byte(array):
    decoded = through(array)
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=300), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_right_to_a_thousandth(seconds, percent):
    histogram = Histogram()
    for value in seconds:
        histogram.record(value)
    exact = sorted(seconds)[max(0, int(np.ceil(len(seconds) * percent / 100)) - 1)]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=1e-3, abs=1e-6)
    assert histogram.mean() == pytest.approx(np.mean(seconds))


def top(scores, k):
    """The k largest, written as the head is meant: stable, best first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]


def sparse(scores, k):
    row = np.zeros_like(scores)
    row[top(scores, k)] = scores[top(scores, k)]
    return row


def listed(scores, k, width=N):
    indices, values = np.full(width, -1, np.int32), np.zeros(width, np.float32)
    labels = np.full(width, b"", object)
    indices[:k], values[:k] = top(scores, k), scores[top(scores, k)]
    labels[:k] = [LABELS[index] for index in indices[:k]]
    return indices, values, labels


scores = hnp.arrays(np.float32, N, elements=st.floats(0, 1, width=32, allow_subnormal=False))
tied = hnp.arrays(np.float32, N, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@settings(max_examples=300, deadline=None)
@given(st.one_of(scores, tied), st.integers(0, N))
def test_the_right_answer_to_any_scores_passes_exactly(dense, k):
    exact = Tolerance(rtol=0, atol=0)
    sparse_verdict = judge_sparse(dense, sparse(dense, k), k, exact)
    listed_verdict = judge_listed(dense, *listed(dense, k), LABELS, k, exact)
    for verdict in (sparse_verdict, listed_verdict, judge_dense(dense, dense, exact, k)):
        assert verdict.problem == ""
        assert not verdict.near_tie
        assert verdict.difference == 0
