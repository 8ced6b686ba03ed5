"""Samples made up within what is known of the inputs."""

import io

import numpy as np
import pytest
from PIL import Image

from client import InputError
from client.rpc.metadata import Metadata, Signature, TensorInfo
from client.samples import Bound, random_samples, read_bounds
from signatures.contract import names


def served(**inputs):
    k = {names.K: TensorInfo("int32", None, np.array(2, np.int32))}
    return Metadata(
        "model", 1, {names.SERVING_DEFAULT: Signature(names.SERVING_DEFAULT, "predict", {**inputs, **k}, {})}
    )


def values(samples, name):
    return np.concatenate([sample.inputs[name].reshape(-1) for sample in samples])


def test_values_are_of_the_declared_dtype_and_shape():
    metadata = served(
        ids=TensorInfo("int64", (-1, -1)),
        small=TensorInfo("uint8", (-1, 3)),
        table=TensorInfo("float32", (-1, 4)),
        half=TensorInfo("float16", (-1,)),
        rounded=TensorInfo("bfloat16", (-1, 2)),
        flags=TensorInfo("bool", (1, 9)),
        text=TensorInfo("string", (-1,)),
        words=TensorInfo("string", (-1, 5)),
    )
    samples = random_samples(metadata, 20, length=7)
    assert len(samples) == 20
    shapes = {name: (array.dtype.name, array.shape) for name, array in samples[0].inputs.items()}
    assert shapes == {
        "ids": ("int64", (1, 7)),
        "small": ("uint8", (1, 3)),
        "table": ("float32", (1, 4)),
        "half": ("float16", (1,)),
        "rounded": ("float32", (1, 2)),
        "flags": ("bool", (1, 9)),
        "text": ("object", (1,)),
        "words": ("object", (1, 5)),
    }
    for name in ("ids", "small", "flags"):
        assert set(values(samples, name).tolist()) == {0, 1}
    for name in ("table", "half", "rounded"):
        assert 0 <= values(samples, name).min() < values(samples, name).max() <= 1
    assert all(len(text.split()) == 7 for text in values(samples, "text"))
    assert all(len(word.split()) == 1 for word in values(samples, "words"))
    assert len({sample.title for sample in samples}) == 20


def test_values_stay_within_their_bounds():
    metadata = served(
        ids=TensorInfo("int32", (-1, -1)), floats=TensorInfo("float32", (-1, 8)), text=TensorInfo("string", (-1,))
    )
    bounds = read_bounds({"ids": {"ids": 5}, "floats": {"ids": 3}, "text": {"words": ["dog", "cat"]}})
    samples = random_samples(metadata, 20, bounds=bounds)
    assert set(values(samples, "ids").tolist()) == {0, 1, 2, 3, 4}
    assert set(values(samples, "floats").tolist()) == {0.0, 1.0, 2.0}
    assert {word for text in values(samples, "text") for word in text.split()} == {b"dog", b"cat"}


def test_a_seed_makes_the_same_samples_again():
    metadata = served(table=TensorInfo("float32", (-1, 4)), text=TensorInfo("string", (-1,)))
    first, again, other = (random_samples(metadata, 3, seed=seed) for seed in (1, 1, 2))
    assert [sample.title for sample in first] == [sample.title for sample in again]
    assert [sample.title for sample in first] != [sample.title for sample in other]


def test_images_are_files_of_noise_and_what_becomes_of_them():
    metadata = served(images=TensorInfo("float32", (-1, 4, -1, 3)))
    for sample in random_samples(metadata, 3, preprocessing="tf", length=6):
        pixels = np.asarray(Image.open(io.BytesIO(sample.file)))
        assert pixels.shape == (4, 6, 3)
        np.testing.assert_allclose(sample.inputs["images"][0], pixels / 127.5 - 1, atol=1e-6)
    (unknown,) = random_samples(metadata, 1)
    assert unknown.file is None
    assert unknown.inputs["images"].shape == (1, 4, 32, 3)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (
            TensorInfo("float32", None),
            "input x is declared with no shape, so nothing can be made up for it",
        ),
        (TensorInfo("float32", ()), r"input x is declared with the shape \[\]"),
        (TensorInfo("qint8", (-1,)), "input x is qint8, which numpy lacks"),
    ],
)
def test_what_cannot_be_made_up_is_named(info, said):
    with pytest.raises(InputError, match=said):
        random_samples(served(x=info), 1)


def test_ids_that_the_dtype_cannot_hold_are_refused():
    with pytest.raises(InputError, match="input x takes int8, not"):
        random_samples(served(x=TensorInfo("int8", (-1, 500))), 1, bounds={"x": Bound(ids=1000)})


@pytest.mark.parametrize(
    "bound",
    [
        5,
        {},
        {"ids": 0},
        {"ids": True},
        {"ids": 1.5},
        {"words": []},
        {"words": [1]},
        {"words": "ab"},
        {"ids": 5, "words": ["a"]},
    ],
)
def test_bounds_of_another_form_are_refused(bound):
    with pytest.raises(InputError, match=r"the bounds of input x are .*: they must be"):
        read_bounds({"x": bound})


def test_bounds_of_an_unknown_input_are_refused():
    with pytest.raises(InputError, match="bounds are given for an input 'y', but the inputs are x"):
        random_samples(served(x=TensorInfo("int32", (-1,))), 1, bounds={"y": Bound(ids=3)})
