"""What requests call a model's inputs: the model's own names, or those that a user gives them."""

import keras
import numpy as np
import pytest

from exporter import Classifier, ExportError, Samples, export
from exporter.sources.model_inputs import model_inputs


def scores(tensor):
    return keras.layers.Dense(3, activation="sigmoid")(keras.layers.Flatten()(tensor))


def image_model(name=None):
    images = keras.Input((8, 8, 3), name=name)
    return keras.Model(images, scores(images))


def table_model(name=None):
    return keras.Sequential([keras.Input((4,), name=name), keras.layers.Dense(3, activation="sigmoid")])


def pair(left=None, right=None):
    tensors = [keras.Input((4,), name=name) for name in (left, right)]
    return keras.Model(tensors, scores(keras.layers.Concatenate()(tensors)))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3, activation="sigmoid")

    def call(self, pixels):
        return self.dense(keras.ops.mean(pixels, (1, 2)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8, 8, 3), np.float32))
    return model


def called(model, renamed=None):
    return list(model_inputs(model, renamed).specs)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        # A lone image input became "images", whatever it was called, so that no existing client found it.
        (lambda: image_model("pixels"), ["pixels"]),
        (lambda: image_model("input"), ["input"]),
        (image_model, ["images"]),
        (lambda: table_model("amounts"), ["amounts"]),
        (table_model, ["inputs"]),
        (lambda: pair("left", "right"), ["left", "right"]),
        (pair, ["input_0", "input_1"]),
        (lambda: pair("left"), ["left", "input_1"]),
        (lambda: image_model("my-pixels"), ["my_pixels"]),
        (subclassed, ["images"]),
    ],
)
def test_a_name_that_a_person_chose_stays_and_one_that_keras_made_up_becomes_one_that_lasts(model, expected):
    assert called(model()) == expected


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_name_is_the_same_in_each_run_and_after_saving(suffix, tmp_path):
    model = image_model()
    assert called(model) == called(image_model()) == ["images"]
    model.save(tmp_path / f"toy.{suffix}")
    loaded = keras.models.load_model(tmp_path / f"toy.{suffix}", compile=False)
    assert called(loaded) == called(keras.models.clone_model(loaded)) == ["images"]


@pytest.mark.parametrize(
    ("model", "renamed", "expected"),
    [
        (lambda: image_model("pixels"), {"pixels": "images"}, ["images"]),
        (image_model, {"images": "pixels"}, ["pixels"]),
        (lambda: pair("left", "right"), {"left": "right", "right": "left"}, ["right", "left"]),
        (pair, {"input_1": "other"}, ["input_0", "other"]),
        (lambda: table_model("k"), {"k": "amounts"}, ["amounts"]),
        (lambda: table_model("0abc"), {"0abc": "abc"}, ["abc"]),
    ],
)
def test_an_input_can_be_renamed(model, renamed, expected):
    assert called(model(), renamed) == expected


@pytest.mark.parametrize(
    ("model", "renamed", "complaint"),
    [
        (lambda: table_model("x"), {"y": "z"}, "--input-name renames 'y', and the model's inputs are x"),
        (lambda: table_model("x"), {"x": "k"}, "input name 'k' is reserved for the number of labels"),
        (lambda: table_model("k"), {}, "as in --input-name k=NAME"),
        (lambda: table_model("x"), {"x": "a b"}, "'a b' cannot name an argument"),
        (lambda: pair("left", "right"), {"left": "right"}, "Two of the model's inputs are named 'right'"),
    ],
)
def test_a_name_that_requests_cannot_use_is_refused_with_what_to_do(model, renamed, complaint):
    with pytest.raises(ExportError, match=complaint):
        called(model(), renamed)


def test_what_is_known_of_an_input_is_known_under_its_new_name():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    model = keras.Model(tokens, scores(keras.layers.Embedding(20, 4)(tokens)))

    assert model_inputs(model, {"tokens": "ids"}).id_bounds == {"ids": 20}


def test_samples_go_by_the_new_name(tmp_path):
    classifier = Classifier(table_model("x"), "toy", input_names={"x": "amounts"})

    version = export(classifier, tmp_path, samples=Samples({"amounts": np.ones((2, 4), np.float32)}))

    assert version.path.exists()
    with pytest.raises(ExportError, match=r"The samples hold \['x'\]; the model's inputs are \['amounts'\]"):
        export(classifier, tmp_path, samples=Samples({"x": np.ones((2, 4), np.float32)}))
