"""Keras models with several outputs: one holds the scores, others are served as they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter import Classifier, ExportError, ExportOptions, ValidationError, export
from exporter.sources.examine import examine
from exporter.sources.model_outputs import named_outputs
from exporter.validation.answers import validate_also_outputs
from exporter.validation.loaded import LoadedVersion
from signatures import Batching
from signatures.contract import names
from signatures.contract.record import ExportRecord

N = 4


def dense(tensor, size=N, name=None, activation="sigmoid"):
    return keras.layers.Dense(size, activation=activation, name=name)(tensor)


class Words(keras.layers.Layer):
    """Say of each row which of its values is the largest, as text."""

    def call(self, tensor):
        return tf.strings.as_string(tf.argmax(tensor, axis=-1))

    def compute_output_spec(self, tensor):
        return keras.KerasTensor(tensor.shape[:-1], "string")


def two_heads():
    x = keras.Input((6,), name="x")
    hidden = dense(x, 8, activation="relu")
    embedding = dense(hidden, 3, "embedding", activation=None)
    return keras.Model(x, [dense(hidden, name="topics"), embedding, Words(name="best")(embedding)])


def as_dict():
    x = keras.Input((6,), name="x")
    return keras.Model(x, {"scores": dense(x), "logits": dense(x, activation=None)})


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = keras.layers.Dense(N, activation="sigmoid"), keras.layers.Dense(2)

    def call(self, x):
        return self.first(x), {"other": self.second(x)}


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 6), np.float32))
    return model


def unnamed():
    x = keras.Input((6,))
    return keras.Model(x, [dense(x), dense(x, 2), dense(x, 3, "third")])


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (two_heads, ["topics", "embedding", "best"]),
        (as_dict, ["logits", "scores"]),
        (subclassed, ["output_0", "1_other"]),
        (unnamed, ["output_0", "output_1", "third"]),
    ],
)
def test_outputs_have_the_names_that_a_person_gave_them_or_one_that_lasts(build, expected):
    model = build()
    assert sorted(named_outputs(model, model(np.zeros((2, 6), np.float32)))) == sorted(expected)


@pytest.mark.parametrize("build", [two_heads, as_dict, subclassed, unnamed])
def test_a_model_with_several_outputs_and_no_choice_is_refused_with_their_names(build, tmp_path):
    with pytest.raises(ExportError, match=r"has the outputs \w+, .*: choose the one that holds .* --output-name NAME"):
        export(Classifier(build(), "toy"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_heads_are_served_beside_the_probabilities_in_every_signature_but_classify(tmp_path):
    keras.utils.set_random_seed(1)
    model = two_heads()
    classifier = Classifier(model, "toy", output_name="topics", also_outputs=("embedding", "best"))
    x = np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32)

    version = export(classifier, tmp_path, k=2)

    _, embedding, best = model(x)
    with LoadedVersion(version.path) as loaded:
        for key in (names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K):
            answer = loaded.call(key, {"x": x})
            np.testing.assert_allclose(answer["embedding"], embedding, rtol=1e-5)
            np.testing.assert_array_equal(answer["best"], best)
        assert set(loaded.signatures[names.CLASSIFY].outputs) == {names.CLASSES, names.SCORES}
    outputs = ExportRecord.read(version.path).signatures[names.TOP_K]["outputs"]
    assert outputs["embedding"] == {"dtype": "float32", "shape": [-1, 3]}
    assert outputs["best"] == {"dtype": "string", "shape": [-1]}


@pytest.mark.parametrize(
    ("build", "output", "also"), [(as_dict, "scores", "logits"), (subclassed, "output_0", "1_other")]
)
def test_outputs_in_a_dict_and_of_a_subclassed_model_are_served(build, output, also, tmp_path):
    model = build()
    version = export(Classifier(model, "toy", output_name=output, also_outputs=(also,)), tmp_path)
    name = "x" if build is as_dict else "inputs"
    x = np.ones((2, 6), np.float32)
    with LoadedVersion(version.path) as loaded:
        answer = loaded.call(names.SERVING_DEFAULT, {name: x})
    np.testing.assert_allclose(answer[also], named_outputs(model, model(x))[also], rtol=1e-5)


def test_logits_may_be_served_beside_the_probabilities_that_are_made_of_them(tmp_path):
    model = as_dict()
    classifier = Classifier(model, "toy", output_name="logits", also_outputs=("logits",), activation="softmax")
    with LoadedVersion(export(classifier, tmp_path, k=N).path) as loaded:
        answer = loaded.call(names.SERVING_DEFAULT, {"x": np.ones((2, 6), np.float32)})
    np.testing.assert_allclose(answer["probabilities"], tf.nn.softmax(answer["logits"]), rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"output_name": "nonesuch"}, "The model has no output 'nonesuch': choose one of topics, embedding, best"),
        ({"output_name": "topics", "also_outputs": ("topic",)}, "no output 'topic'"),
        ({"output_name": "best"}, "output is of type string|has the shape"),
    ],
)
def test_an_output_that_cannot_be_chosen_is_refused(options, complaint):
    with pytest.raises(ExportError, match=complaint):
        examine(Classifier(two_heads(), "toy", **options))


def test_an_output_without_a_row_for_each_example_is_refused():
    x = keras.Input((6,), name="x")
    model = keras.Model(x, {"main": dense(x), "mean": keras.ops.mean(x, axis=0)})
    with pytest.raises(ExportError, match=r"The output 'mean' for 2 examples has the shape \[6\]; .* \[B, \.\.\.\]"):
        examine(Classifier(model, "toy", output_name="main", also_outputs=("mean",)))


def test_an_output_as_long_as_the_input_is_served_and_refused_where_inputs_are_padded(tmp_path):
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(20, 5, mask_zero=True)(tokens)
    pooled = keras.layers.GlobalAveragePooling1D()(embedded)
    each = keras.layers.Dense(2, name="each")(embedded)
    model = keras.Model(tokens, [dense(pooled, name="topics"), each])
    classifier = Classifier(model, "toy", output_name="topics", also_outputs=("each",))

    version = export(classifier, tmp_path / "alone")

    assert ExportRecord.read(version.path).signatures[names.TOP_K]["outputs"]["each"]["shape"] == [-1, -1, 2]
    with LoadedVersion(version.path) as loaded:
        for length in (3, 7):
            answer = loaded.call(names.SERVING_DEFAULT, {"tokens": np.ones((2, length), np.int32)})
            assert answer["each"].shape == (2, length, 2)
    padded = ExportOptions(batching=Batching(pad_to=(16, 64)))
    with pytest.raises(ExportError, match="leave out --also-output each, or pass --batching none"):
        export(classifier, tmp_path / "padded", options=padded)


def test_half_precision_spares_the_layers_that_answer(tmp_path):
    classifier = Classifier(two_heads(), "toy", output_name="topics", also_outputs=("embedding",))
    version = export(classifier, tmp_path, options=ExportOptions(precision="mixed_bfloat16"))
    assert version.deviation.largest > 0
    with LoadedVersion(version.path) as loaded:
        answer = loaded.call(names.SERVING_DEFAULT, {"x": np.ones((1, 6), np.float32)})
    assert answer["embedding"].dtype == np.float32


def test_an_output_that_is_not_keras_own_publishes_nothing(tmp_path):
    classifier = Classifier(two_heads(), "toy", output_name="topics", also_outputs=("embedding",))

    def of_other_weights(version, expected):
        expected.also["embedding"][0, 0] += 0.01
        validate_also_outputs(version, expected)

    with pytest.raises(ValidationError, match="answers embedding wrongly: for sample 0 it has"):
        export(classifier, tmp_path, validations={"Other outputs": of_other_weights})
    assert list(tmp_path.iterdir()) == []
