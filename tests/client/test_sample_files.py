"""Samples of JSON lines and .npz files: what a user's file becomes, and what is said of one that does not fit."""

import base64
import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the values")

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from client import InputError
from client.rpc.metadata import Metadata, Signature, TensorInfo
from client.samples import read_samples
from signatures.contract import names

TEXT = {"text": TensorInfo("string", (-1,))}
TOKENS = {"tokens": TensorInfo("int32", (-1, -1))}
TABLE = {
    "age": TensorInfo("float32", (-1, 1)),
    "codes": TensorInfo("int64", (-1, 3)),
    "name": TensorInfo("string", (-1,)),
}
IMAGES = {"images": TensorInfo("float32", (-1, 4, 4, 1))}


def served(inputs, labels=3):
    """Metadata of a model with these inputs."""
    default = np.array(2, np.int32)
    inputs = {**inputs, names.K: TensorInfo("int32", None, default), names.MIN_SCORE: TensorInfo("float32", None)}
    dense = {names.PROBABILITIES: TensorInfo("float32", (-1, labels))}
    return Metadata("model", 1, {names.SERVING_DEFAULT: Signature(names.SERVING_DEFAULT, "predict", inputs, dense)})


@pytest.fixture
def read(tmp_path):
    """Read lines, or a file's content, as samples of a model with these inputs."""

    def read(inputs, content, name="samples.jsonl"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_samples([file], served(inputs))

    return read


def b64(content):
    return {"b64": base64.b64encode(content).decode()}


@pytest.mark.parametrize(
    "line", ['{"text": "ein Wörtchen"}', '"ein Wörtchen"', json.dumps({"text": b64("ein Wörtchen".encode())})]
)
def test_a_text_is_a_key_a_bare_string_or_base64(read, line):
    (sample,) = read(TEXT, line)
    assert sample.inputs["text"].tolist() == ["ein Wörtchen".encode()]
    assert sample.inputs["text"].dtype == object
    assert sample.title == "ein Wörtchen"


def test_base64_keeps_bytes_that_are_not_text(read):
    for line in (json.dumps(b64(b"\xff\0")), json.dumps({"text": b64(b"\xff\0")})):
        assert read(TEXT, line)[0].inputs["text"].tolist() == [b"\xff\0"]


def test_rows_of_tokens_have_their_own_lengths(read):
    samples = read(TOKENS, '{"tokens": [1, 2, 3]}\n\n[4]\n{"tokens": []}\n')
    assert [sample.inputs["tokens"].tolist() for sample in samples] == [[[1, 2, 3]], [[4]], [[]]]
    assert {sample.inputs["tokens"].dtype for sample in samples} == {np.dtype(np.int32)}
    assert [sample.source.rpartition("/")[2] for sample in samples] == [
        "samples.jsonl, line 1",
        "samples.jsonl, line 3",
        "samples.jsonl, line 4",
    ]


def test_several_inputs_are_keys_and_one_value_needs_no_list(read):
    (sample,) = read(TABLE, '{"name": "Ada", "age": 36, "codes": [1, 2.0, 3]}')
    assert sample.inputs["age"].tolist() == [[36.0]]
    assert sample.inputs["codes"].tolist() == [[1, 2, 3]]
    assert sample.inputs["codes"].dtype == np.int64
    assert sample.title == "name=Ada, age=[36], codes=[1, 2, 3]"


def test_many_values_are_shown_shortened_and_images_by_their_place(read):
    assert read(TOKENS, json.dumps(list(range(30))))[0].title == "[0, 1, 2, 3, 4, 5, ... 30 values]"
    assert read(IMAGES, json.dumps(np.zeros((4, 4, 1)).tolist()))[0].title.endswith("samples.jsonl, line 1")


def test_what_a_line_asks_for_and_what_is_true_of_it_are_kept(read):
    first, second = read(
        TEXT, '{"text": "a", "k": 3, "min_score": 0.5, "labels": ["x", "y"]}\n{"text": "b", "labels": []}'
    )
    assert (first.k, first.min_score, first.truth) == (3, 0.5, ("x", "y"))
    assert (second.k, second.min_score, second.truth) == (None, None, ())
    assert read(TEXT, '{"text": "a"}')[0].truth is None


def test_an_input_called_labels_is_an_input(read):
    assert read({"labels": TensorInfo("string", (-1,))}, '{"labels": "x"}')[0].inputs["labels"].tolist() == [b"x"]


def test_standard_input_holds_json_lines(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'"a"\n{"text": 5}\n')))
    with pytest.raises(InputError, match="standard input, line 2: input text takes strings, not 5"):
        read_samples(["-"], served(TEXT))


@pytest.mark.parametrize(
    ("inputs", "line", "said"),
    [
        (TEXT, '{"text": "a"', r"line 1 is not JSON \(.*, column 13\): write one object or value on each line"),
        (TEXT, b'"\xff"', "line 1 cannot be read: 'utf-8' codec"),
        (TEXT, "[" * 100_000, "line 1 cannot be read"),
        (TEXT, '{"text": {"b64": "?"}}', "line 1: the value of 'b64' is not base64"),
        (TEXT, r'"\ud800"', r"line 1: input text takes UTF-8, and '\\ud800' holds a lone surrogate"),
        (TEXT, '{"txet": "a"}', "line 1 has an input 'txet', but the model's inputs are text"),
        (TEXT, '{"text": ["a"]}', r"line 1: input text takes rows of shape \[\], and this one is of shape \[1\]"),
        (TEXT, '{"text": null}', "line 1: input text takes strings, not None"),
        (TABLE, '{"age": 1, "name": "a"}', "line 1 has no input 'codes', which the model needs"),
        (TABLE, '"Ada"', "line 1 is a bare value, but the model has several inputs: age, codes, name"),
        (TABLE, '{"age": "old", "name": "a", "codes": [1, 2, 3]}', "line 1: input age takes float32, not 'old'"),
        (TOKENS, "[1.5]", "line 1: input tokens takes int32, not 1.5"),
        (TOKENS, "[3000000000]", "line 1: input tokens takes int32, not 3000000000"),
        (TOKENS, "[1" + "0" * 30 + "]", "line 1: input tokens takes int32, not"),
        (TOKENS, "[[1], [1, 2]]", "line 1: input tokens holds lists of several lengths"),
        (TOKENS, "[NaN]", "line 1: input tokens takes int32, not nan"),
        (TABLE, '{"age": 1e39, "name": "a", "codes": [1, 2, 3]}', r"line 1: input age takes float32, not 1e\+39"),
        (TEXT, '{"text": "a", "k": 1.5}', "line 1: k is 1.5, and must be a whole number"),
        (TEXT, '{"text": "a", "k": true}', "line 1: k is True"),
        (TEXT, '{"text": "a", "min_score": NaN}', "line 1: min_score is nan, and must be a number"),
        (TEXT, '{"text": "a", "labels": "x"}', "line 1: labels is 'x', and must be a list"),
        (TEXT, "\n", "holds no samples"),
        ({"half": TensorInfo("qint8", (-1,))}, "1", "line 1: input half is qint8, which numpy lacks"),
        ({"x": TensorInfo("float32", ())}, "1", r"line 1: input x is declared with the shape \[\]"),
        ({"x": TensorInfo("float32", (8, 2))}, "[1, 2]", r"line 1: input x is declared with the shape \[8, 2\]"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence_with_file_line_and_input(read, inputs, line, said):
    with pytest.raises(InputError, match=rf"samples.jsonl,? {said}") as caught:
        read(inputs, line)
    assert "\n" not in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.jsonl cannot be read: No such file"):
        read_samples([tmp_path / "absent.jsonl"], served(TEXT))


ARRAYS = st.sampled_from(["?", "i1", "i4", "i8", "u1", "u8", "f2", "f4", "f8"]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
)
STRINGS = hnp.arrays(
    object,
    hnp.array_shapes(min_dims=1, max_dims=2, max_side=3),
    elements=st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
)


def declared(array):
    dtype = "string" if array.dtype == object else array.dtype.name
    return {"x": TensorInfo(dtype, (-1,) * array.ndim)}


def encoded(array):
    return (
        np.array([text.encode() for text in array.reshape(-1)], object).reshape(array.shape)
        if array.dtype == object
        else array
    )


@settings(max_examples=100)
@given(array=st.one_of(ARRAYS, STRINGS))
def test_json_lines_become_the_arrays_they_were_made_of(tmp_path_factory, array):
    file = tmp_path_factory.mktemp("json") / "rows.jsonl"
    file.write_text("".join(json.dumps({"x": row}) + "\n" for row in array.tolist()), "utf-8")
    samples = read_samples([file], served(declared(array)))
    assert {sample.inputs["x"].dtype for sample in samples} == {array.dtype}
    np.testing.assert_array_equal(np.concatenate([sample.inputs["x"] for sample in samples]), encoded(array))


@settings(max_examples=100)
@given(array=st.one_of(ARRAYS, STRINGS))
def test_npz_files_become_the_arrays_they_were_made_of(tmp_path_factory, array):
    file = tmp_path_factory.mktemp("npz") / "rows.npz"
    # numpy pads its own strings with zeros, and cannot tell these from zeros at the end of one.
    stored = (
        np.array([text.rstrip("\0") for text in array.reshape(-1)], str).reshape(array.shape)
        if array.dtype == object
        else array
    )
    np.savez(file, x=stored)
    samples = read_samples([file], served(declared(array)))
    expected = encoded(stored.astype(object)) if array.dtype == object else array
    np.testing.assert_array_equal(np.concatenate([sample.inputs["x"] for sample in samples]), expected)


def npz(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


def test_an_npz_file_may_say_what_is_true_of_each_row(read):
    labels = np.array([[1, 0, 1], [0, 0, 0], [-1, -1, -1]])
    samples = read(TOKENS, npz(tokens=np.zeros((3, 2), np.int64), labels=labels), "rows.npz")
    assert [sample.truth for sample in samples] == [(0, 2), (), None]
    assert samples[1].source.endswith("rows.npz, row 1")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"words": np.zeros((2, 2))}, "row 0 has an input 'words', but the model's inputs are tokens"),
        (
            {"tokens": np.zeros((2, 2)), "labels": np.zeros((2, 4))},
            r"labels are float64 of shape \[2, 4\], and must be .* \[2, 3\]",
        ),
        ({"tokens": np.zeros((2, 2)), "labels": np.full((2, 3), 2)}, "row 0: labels must be 0 or 1"),
        ({"tokens": np.zeros(2)}, r"row 0: input tokens takes rows of shape \[any\], and this one is of shape \[\]"),
        ({"tokens": np.zeros((0, 2))}, "array tokens holds 0 samples"),
        ({"tokens": np.full((2, 1), 0.5)}, "row 0: input tokens takes int32, not 0.5"),
        ({"tokens": np.array([[{}]], object)}, "cannot be read as .npz: Object arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_named(read, arrays, said):
    with pytest.raises(InputError, match=rf"rows.npz[:,]? {said}"):
        read(TOKENS, npz(**arrays), "rows.npz")


def test_a_file_that_numpy_saved_otherwise_is_refused(read, tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"rows.npz is not a .npz file, as numpy.savez writes them"):
        read(TOKENS, (tmp_path / "rows.npy").read_bytes(), "rows.npz")


def test_an_npz_file_with_arrays_of_several_lengths_is_refused(read):
    with pytest.raises(InputError, match="array b holds 3 samples, others 2"):
        read({}, npz(a=np.zeros((2, 1)), b=np.zeros((3, 1))), "rows.npz")


@settings(max_examples=150)
@given(data=st.data())
def test_a_damaged_npz_file_is_refused_in_a_sentence(tmp_path_factory, data):
    content = bytearray(npz(tokens=np.arange(6, dtype=np.int32).reshape(3, 2)))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file = tmp_path_factory.mktemp("npz") / "rows.npz"
    file.write_bytes(content)
    said, rows = "", []
    try:
        rows = [sample.inputs["tokens"].tolist() for sample in read_samples([file], served(TOKENS))]
    except InputError as error:
        said = str(error)
    assert str(file) in said or rows == [[[0, 1]], [[2, 3]], [[4, 5]]]
