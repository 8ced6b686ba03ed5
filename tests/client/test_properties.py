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

NUMPY_TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


def through(value):
    return decode_tensor(TensorProto.FromString(b"".join(encode_tensor(value))))


@settings(max_examples=150)
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


@settings(max_examples=60)
@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=st.binary(max_size=9)))
def test_strings_keep_every_byte(array):
    decoded = through(array)
    assert decoded.shape == array.shape
    assert decoded.tolist() == array.tolist()


@settings(max_examples=100)
@given(st.lists(st.floats(1e-6, 100), min_size=1, max_size=300), st.sampled_from([50.0, 90.0, 99.0, 99.9, 100.0]))
def test_percentiles_are_right_to_a_thousandth(seconds, percent):
    histogram = Histogram()
    for value in seconds:
        histogram.record(value)
    exact = sorted(seconds)[max(0, int(np.ceil(len(seconds) * percent / 100)) - 1)]
    assert histogram.percentile(percent) == pytest.approx(exact, rel=1e-3, abs=1e-6)
    assert histogram.mean() == pytest.approx(np.mean(seconds))
