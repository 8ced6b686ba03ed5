"""Signatures of other models than ours: several inputs, other dtypes, a k that is a scalar."""

import numpy as np
import pytest

from client import InputError
from client.bench.requests import sample_requests
from client.rpc.examples import example_message
from client.rpc.inputs import arrange_inputs, length, trim_top_k
from client.rpc.messages import DATA_TYPES, PredictRequest
from client.rpc.metadata import Metadata, Signature, Target, TensorInfo
from client.samples import random_samples


def signature(**inputs):
    return Signature("serve", "tensorflow/serving/predict", inputs, {})


TWO = signature(
    ids=TensorInfo("int64", (-1, 3)), weights=TensorInfo("float32", (-1, 3)), k=TensorInfo("int32", None, np.array(2))
)


def test_several_inputs_go_by_name_and_share_their_number_of_examples():
    arrays = {"ids": np.zeros((4, 3), np.int64), "weights": np.zeros((4, 3), np.float32)}
    assert arrange_inputs(TWO, arrays, 1)["k"].tolist() == [1] * 4
    assert set(arrange_inputs(TWO, arrays, None)) == {"ids", "weights"}
    with pytest.raises(InputError, match="input weights of signature serve holds 5 examples, others 4"):
        arrange_inputs(TWO, arrays | {"weights": np.zeros((5, 3), np.float32)}, 1)
    with pytest.raises(InputError, match="has the inputs ids, weights: pass them by name"):
        arrange_inputs(TWO, arrays["ids"], 1)
    with pytest.raises(InputError, match="needs the input 'weights'"):
        arrange_inputs(TWO, {"ids": arrays["ids"]}, 1)


def test_plain_numbers_are_not_changed_to_fit():
    ids = [[1, 2, 3]]
    assert arrange_inputs(TWO, {"ids": ids, "weights": ids}, None)["ids"].dtype == np.int64
    with pytest.raises(InputError, match=r"input ids of signature serve takes int64, not 2\.5"):
        arrange_inputs(TWO, {"ids": [[1, 2, 2.5]], "weights": ids}, None)
    for wrong, said in ((1e39, r"1e\+39"), (1 + 2j, r"\[\[0, 0, \(1\+2j\)\]\]"), ("a", r"\[\[0, 0, 'a'\]\]")):
        with pytest.raises(InputError, match=f"input weights of signature serve takes float32, not {said}"):
            arrange_inputs(TWO, {"ids": ids, "weights": [[0, 0, wrong]]}, None)
    with pytest.raises(InputError, match="input ids of signature serve holds lists of several lengths"):
        arrange_inputs(TWO, {"ids": [[1], [1, 2]], "weights": ids}, None)


def test_whole_numbers_of_more_than_63_bits_stay_themselves_beside_small_ones():
    hashes = signature(x=TensorInfo("uint64", (-1,)))
    assert arrange_inputs(hashes, [1, 2**64 - 1], None)["x"].tolist() == [1, 2**64 - 1]
    for wrong in (2**64, -1):
        with pytest.raises(InputError, match=r"takes uint64, not"):
            arrange_inputs(hashes, [1, wrong], None)


def test_a_k_that_is_declared_a_scalar_is_sent_as_one():
    scalar = signature(x=TensorInfo("float32", (-1,)), k=TensorInfo("int32", ()))
    sent = arrange_inputs(scalar, np.zeros(3, np.float32), 2)["k"]
    assert (sent.shape, sent.dtype, sent.item()) == ((), np.int32, 2)
    with pytest.raises(InputError, match=r"k of signature serve is one number for all, not of shape \[3\]"):
        arrange_inputs(scalar, np.zeros(3, np.float32), [1, 2, 3])


def test_bfloat16_takes_float32_and_plain_numbers():
    half = signature(x=TensorInfo("bfloat16", (-1,)))
    assert arrange_inputs(half, np.zeros(3, np.float32), None)["x"].dtype == np.float32
    assert arrange_inputs(half, [0.5], None)["x"].dtype == np.float32
    with pytest.raises(InputError, match="bfloat16, not float64"):
        arrange_inputs(half, np.zeros(3), None)


def test_strings_take_bytes_and_text():
    text = signature(x=TensorInfo("string", (-1,)))
    assert arrange_inputs(text, ["a", "b"], None)["x"].tolist() == ["a", "b"]
    assert arrange_inputs(text, np.array([b"a"]), None)["x"].shape == (1,)
    with pytest.raises(InputError, match=r"is string, not int64$"):
        arrange_inputs(text, [1], None)


def test_an_input_of_any_shape_takes_any():
    loose = signature(x=TensorInfo("float32", None))
    assert arrange_inputs(loose, np.zeros((2, 3), np.float32), None)["x"].shape == (2, 3)
    assert arrange_inputs(loose, np.zeros((), np.float32), None)["x"].shape == ()


def test_only_listed_answers_are_trimmed():
    wide = {"indices": np.zeros((2, 5)), "scores": np.zeros((2, 5)), "other": np.zeros((2, 5)), "labels": np.zeros(2)}
    shapes = {name: array.shape for name, array in trim_top_k(wide, [1, 3]).items()}
    assert shapes == {"indices": (2, 3), "scores": (2, 3), "other": (2, 5), "labels": (2,)}
    assert trim_top_k(wide, None) is wide
    assert trim_top_k({"other": wide["other"]}, 1)["other"].shape == (2, 5)


@pytest.mark.parametrize("dtype", ["resource", "variant", "float_ref", "data type 99"])
def test_a_tensor_that_no_request_can_hold_is_refused(dtype):
    handle = signature(x=TensorInfo(dtype, (-1,)))
    for value in (np.zeros(1, np.float32), [1], ["a"]):
        with pytest.raises(InputError, match=f"input x of signature serve is {dtype}, which no request can hold"):
            arrange_inputs(handle, value, None)
    with pytest.raises(InputError, match="nothing can be made up"):
        random_samples(Metadata("m", 1, {"serve": handle}), 1, signature="serve")


def test_made_up_samples_are_sent_in_the_declared_type():
    half = signature(x=TensorInfo("bfloat16", (-1,)))
    (sample,) = random_samples(Metadata("m", 1, {"serve": half}), 1, signature="serve")
    (request,) = sample_requests(Target("m"), half, [sample], [], 3)
    sent = PredictRequest.FromString(request.content).inputs["x"]
    assert (sent.dtype, sent.tensor_shape.dim[0].size, request.examples) == (DATA_TYPES["DT_BFLOAT16"], 3, 3)


def test_an_input_without_a_dimension_counts_no_examples():
    scalars = signature(x=TensorInfo("float32", ()), k=TensorInfo("int32", None, np.array(2)))
    assert arrange_inputs(scalars, 0.5, 1)["k"].tolist() == [1]
    assert length({"x": np.float32(0.5).reshape(())}) == length({}) == 1


def test_bytes_that_end_in_zeros_reach_an_example_whole():
    features = example_message({"files": [b"a\0\0", b"b"], "one": b"c\0"}).features.feature
    assert list(features["files"].bytes_list.value) == [b"a\0\0", b"b"]
    assert list(features["one"].bytes_list.value) == [b"c\0"]
