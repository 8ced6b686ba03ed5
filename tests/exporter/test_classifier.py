"""What can be served as a classifier, and with what samples: all else is refused in a sentence."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter import Classifier, ExportError, ExportOptions, Samples, ValidationError, export
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from exporter.writing.prediction_logs import read_requests
from server.errors import ServingError
from signatures.contract import names


def scores(tensor, labels=3):
    return keras.layers.Dense(labels, activation="sigmoid")(tensor)


def vectors():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="sigmoid")])


def refused(build):
    with pytest.raises(ExportError) as caught:
        build()
    message = str(caught.value)
    assert "\n" not in message
    return message


def functional(output):
    tensor = keras.Input((4,), name="x")
    return keras.Model(tensor, output(tensor))


def first_answer(version, inputs):
    with LoadedVersion(version.path) as loaded:
        return loaded.call(names.SERVING_DEFAULT, {**inputs, names.K: np.array(3, np.int32)})[names.PROBABILITIES]


@pytest.mark.parametrize("hold", [lambda tensor: [tensor], lambda tensor: {"x": tensor}], ids=["list", "dict"])
def test_a_lone_input_or_output_in_a_list_or_a_dict_is_what_it_holds(hold, tmp_path):
    tensor = keras.Input((4,), name="x")
    model = keras.Model(hold(tensor), hold(scores(tensor)))
    asked = np.random.default_rng(1).normal(size=(2, 4)).astype(np.float32)

    answer = first_answer(export(Classifier(model, "toy"), tmp_path), {"x": asked})

    (expected,) = keras.tree.flatten(model.predict(hold(asked), verbose=0))
    np.testing.assert_allclose(answer, expected, rtol=1e-4)


class Drawing(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        self.seed = keras.random.SeedGenerator(1)

    def call(self, tensor):
        return tensor * keras.random.uniform(keras.ops.shape(tensor), seed=self.seed)


class AsText(keras.layers.Layer):
    def call(self, tensor):
        return tf.strings.as_string(tensor)

    def compute_output_spec(self, tensor):
        return keras.KerasTensor(tensor.shape, "string")


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        (lambda x: keras.ops.reshape(scores(x, 6), (-1, 3)), r"for 2 examples has the shape \[4, 3\]"),
        (lambda x: keras.ops.max(scores(x), axis=0, keepdims=True), r"for 2 examples has the shape \[1, 3\]"),
        (lambda x: AsText()(scores(x)), "output is of type string"),
        (lambda x: Drawing()(scores(x)), "answers the same samples differently each time"),
    ],
    ids=["two rows each", "one row for all", "text", "random"],
)
def test_a_model_whose_answers_are_no_scores_of_each_example_is_refused(output, complaint):
    with pytest.raises(ExportError, match=complaint):
        examine(Classifier(functional(output), "toy"))


def test_a_model_that_answers_as_many_scores_as_its_input_is_long_is_refused():
    ids = keras.Input((None,), dtype="int32", name="ids")
    each = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Embedding(10, 4)(ids))

    message = refused(lambda: examine(Classifier(keras.Model(ids, keras.ops.squeeze(each, -1)), "toy")))

    assert "32 scores for an input of length 32 and 33 for one of 33" in message


@pytest.mark.parametrize("name", ["self", "class", "None", "__x", "größe", "0abc"])
def test_an_input_name_that_no_signature_can_have_is_refused(name):
    message = refused(
        lambda: examine(Classifier(keras.Sequential([keras.Input((4,), name=name), *vectors().layers]), "toy"))
    )

    assert f"{name!r} cannot name an argument: rename it" in message


@pytest.mark.parametrize(
    ("called", "complaint"),
    [
        (("K", "x"), "input name 'K' is reserved for the number of labels to keep"),
        (("min_score", "x"), "input name 'min_score' is reserved"),
        (("x", "encoded_images"), "input name 'encoded_images' is reserved"),
        (("Amount", "amount"), "upper or lower case"),
    ],
)
def test_input_names_that_a_request_cannot_tell_apart_are_refused(called, complaint):
    left, right = (keras.Input((2,), name=name) for name in called)
    model = keras.Model([left, right], scores(keras.layers.Concatenate()([left, right])))

    assert complaint in refused(lambda: examine(Classifier(model, "toy")))


def test_an_empty_label_is_refused():
    assert "Label 1 is empty" in refused(lambda: examine(Classifier(vectors(), "toy", labels=("a", "", "c"))))


def test_a_preprocessing_of_three_channels_is_refused_for_one():
    images = keras.Input((8, 8, 1))
    model = keras.Model(images, scores(keras.layers.Flatten()(images)))

    assert "needs images of 3 channels, but the model takes 1" in refused(
        lambda: examine(Classifier(model, "toy", preprocessing="caffe"))
    )


class OfStrings(keras.Model):
    def __init__(self):
        super().__init__()
        self.lookup = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="multi_hot")
        self.dense = keras.layers.Dense(3, activation="sigmoid")

    def call(self, words):
        return self.dense(self.lookup(words))


def test_a_subclassed_model_of_strings_is_refused_with_what_to_do_and_served_once_it_is_done(tmp_path):
    model = OfStrings()
    words = tf.constant([["a"], ["b"]])
    model(words)

    message = refused(lambda: examine(Classifier(model, "toy")))
    text = keras.Input((1,), dtype="string", name="text")
    answer = first_answer(export(Classifier(keras.Model(text, model(text)), "toy"), tmp_path), {"text": words.numpy()})

    assert "keras.Model(x, model(x)) with x = keras.Input(SHAPE, dtype='string')" in message
    np.testing.assert_allclose(answer, model(words), rtol=1e-4)


def test_a_subclassed_model_that_fails_for_float32_is_refused_with_what_to_do():
    class OfIds(keras.Model):
        def call(self, ids):
            return tf.one_hot(ids[:, 0], 3)

    model = OfIds()
    model(np.zeros((2, 1), np.int32))

    assert "the type of its inputs, so float32 was sent; wrap it" in refused(lambda: examine(Classifier(model, "toy")))


def test_a_model_that_fails_for_made_up_samples_says_why_and_asks_for_samples():
    pairs = keras.Input((None,), name="pairs")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Reshape((-1, 3))(pairs))
    model = keras.Model(pairs, scores(pooled))

    message = refused(lambda: examine(Classifier(model, "toy")))

    assert message.startswith("The model fails for made-up samples: ")
    assert "--samples" in message
    examine(Classifier(model, "toy"), Samples({"pairs": np.zeros((2, 6))}))


@pytest.mark.parametrize(
    ("samples", "complaint"),
    [
        ({"y": np.zeros((2, 4))}, r"The samples hold \['y'\]; the model's inputs are \['x'\]"),
        ({"x": np.zeros((2, 5))}, r"of shape \[2, 5\]; the model takes \(None, 4\)"),
        ({"x": np.array([["a"] * 4])}, "of type string, with values that float32"),
    ],
)
def test_samples_that_do_not_fit_the_model_are_refused(samples, complaint):
    with pytest.raises(ExportError, match=complaint):
        examine(Classifier(vectors(), "toy"), Samples(samples))


def test_samples_with_values_that_the_models_type_cannot_hold_are_refused():
    model = keras.Sequential([keras.Input((4,), dtype="uint8", name="x"), keras.layers.Dense(3, activation="sigmoid")])

    with pytest.raises(ExportError, match="of type float64, with values that uint8, which the model takes, cannot"):
        examine(Classifier(model, "toy"), Samples({"x": np.full((2, 4), 0.5)}))


def test_samples_of_numpys_own_types_are_sent_in_the_models(tmp_path):
    """A server takes no other: a warm-up record of float64 for float32 makes a version fail to load."""
    amount, word = keras.Input((4,), name="amount"), keras.Input((1,), dtype="string", name="word")
    hashed = keras.layers.CategoryEncoding(5, output_mode="multi_hot")(keras.layers.Hashing(5)(word))
    model = keras.Model([amount, word], scores(keras.layers.Concatenate()([amount, hashed])))
    samples = Samples({"amount": np.ones((2, 4)), "word": np.array([["größer"], ["b"]])})

    version = export(Classifier(model, "toy"), tmp_path, samples=samples)

    for _, inputs in read_requests(version.path / "assets.extra" / "tf_serving_warmup_requests"):
        assert {"amount": np.float32, "word": object}.items() >= {
            name: array.dtype.type if array.dtype != object else object
            for name, array in inputs.items()
            if name in ("amount", "word")
        }.items()


def test_made_up_words_and_numbers_are_some_that_the_model_knows():
    word, number = keras.Input((6,), dtype="string", name="word"), keras.Input((6,), dtype="int64", name="number")
    words = keras.layers.StringLookup(vocabulary=["red", "green"], output_mode="count")(word)
    numbers = keras.layers.IntegerLookup(vocabulary=[77, 99], output_mode="count")(number)
    model = keras.Model([word, number], scores(keras.layers.Concatenate()([words, numbers])))

    made_up = examine(Classifier(model, "toy"))[1].inputs

    assert {"red", "green"} < set(made_up["word"].ravel())
    assert {77, 99} < set(made_up["number"].ravel())


def test_made_up_words_are_all_known_where_the_model_refuses_others():
    word = keras.Input((6,), dtype="string", name="word")
    lookup = keras.layers.StringLookup(vocabulary=["red", "green"], num_oov_indices=0, output_mode="count")

    made_up = examine(Classifier(keras.Model(word, scores(lookup(word))), "toy"))[1].inputs

    assert set(made_up["word"].ravel()) == {"red", "green"}


def test_ids_of_a_narrow_type_are_held_against_a_larger_embedding(tmp_path):
    ids = keras.Input((3,), dtype="int8", name="ids")
    model = keras.Model(ids, scores(keras.layers.Flatten()(keras.layers.Embedding(300, 4)(ids))))
    version = export(Classifier(model, "toy"), tmp_path)

    with LoadedVersion(version.path) as loaded, pytest.raises(ServingError, match="from 0 to 299"):
        loaded.call(names.SERVING_DEFAULT, {"ids": np.array([[1, 2, -3]], np.int8)})


def test_ids_are_held_against_an_embedding_in_a_model_inside_the_model(tmp_path):
    inner = keras.Sequential([keras.Input((3,), dtype="int32"), keras.layers.Embedding(5, 4), keras.layers.Flatten()])
    ids = keras.Input((3,), dtype="int32", name="ids")
    version = export(Classifier(keras.Model(ids, scores(inner(ids))), "toy"), tmp_path)

    with LoadedVersion(version.path) as loaded, pytest.raises(ServingError, match="from 0 to 4"):
        loaded.call(names.SERVING_DEFAULT, {"ids": np.array([[1, 2, 5]], np.int32)})


def test_a_lone_input_of_strings_without_a_name_is_served(tmp_path):
    text = keras.Input((), dtype="string")
    vectorize = keras.layers.TextVectorization(vocabulary=["red", "green"], output_mode="multi_hot")
    model = keras.Model(text, scores(vectorize(text)))

    answer = first_answer(export(Classifier(model, "toy"), tmp_path), {"inputs": np.array([b"red", b"blue"], object)})

    np.testing.assert_allclose(answer, model(tf.constant(["red", "blue"])), rtol=1e-4)


class OwnTable(keras.layers.Layer):
    def __init__(self):
        super().__init__()
        values = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), tf.constant([0.1, 0.2, 0.3]))
        self.secret = tf.lookup.StaticHashTable(values, default_value=0.5)

    def call(self, tensor):
        return tensor * self.secret.lookup(tf.range(3, dtype=tf.int64))


def test_a_table_that_keras_does_not_know_of_is_named(tmp_path):
    message = refused(lambda: export(Classifier(functional(lambda x: OwnTable()(scores(x))), "toy"), tmp_path))

    assert "StaticHashTable" in message
    assert list(tmp_path.iterdir()) == []


def test_half_precision_leaves_layers_of_strings_as_they_are(tmp_path):
    text = keras.Input((1,), dtype="string", name="text")
    vectorize = keras.layers.TextVectorization(vocabulary=["red", "green"], output_mode="multi_hot")
    hidden = keras.layers.Dense(4)(vectorize(text))

    version = export(
        Classifier(keras.Model(text, scores(hidden)), "toy"),
        tmp_path,
        options=ExportOptions(precision="mixed_bfloat16"),
    )

    assert version.deviation.largest < 0.05


def test_what_fails_on_a_server_is_said_in_one_line(tmp_path):
    classifier = Classifier(functional(lambda x: tf_py(scores(x))), "toy")
    with pytest.raises(ValidationError) as caught:
        export(classifier, tmp_path)
    assert "\n" not in str(caught.value)
    assert "calls Python code" in str(caught.value)


def tf_py(tensor):
    class Halving(keras.layers.Layer):
        def call(self, scores):
            return tf.ensure_shape(tf.numpy_function(lambda array: array / 2, [scores], tf.float32), [None, 3])

        def compute_output_spec(self, scores):
            return keras.KerasTensor(scores.shape, scores.dtype)

    return Halving()(tensor)


def test_a_classifier_runs_nothing_until_it_is_examined():
    called = []

    class Noting(keras.layers.Layer):
        def call(self, tensor):
            called.append(tensor)
            return tensor

    model = functional(lambda x: Noting()(scores(x)))
    called.clear()

    classifier = Classifier(model, "toy")
    assert (called, classifier.labels) == ([], ())
    examined, samples = examine(classifier)
    assert called
    assert examined.labels == ("0", "1", "2")
    assert samples.made_up


@pytest.mark.parametrize(
    ("channels", "together"),
    [(1, [32, 8]), (8_000_000, [1] * 40)],
    ids=["small outputs", "a layer whose output takes 128 MB"],
)
def test_the_model_answers_as_many_samples_at_once_as_its_layers_outputs_allow(channels, together):
    class Wide(keras.layers.Layer):
        def call(self, tensor):
            return tensor

        def compute_output_spec(self, tensor):
            # Declared, so that no test takes that memory.
            return keras.KerasTensor((None, 4 * channels), tensor.dtype)

    class Narrow(keras.layers.Layer):
        def call(self, tensor):
            sizes.append(tensor.shape[0])
            return keras.ops.sigmoid(tensor[:, :3])

    sizes = []
    classifier = Classifier(functional(lambda tensor: Narrow()(Wide()(tensor))), "model", labels=("a", "b", "c"))
    sizes.clear()
    inputs = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    answers = classifier.answers(Samples({"x": inputs}))
    np.testing.assert_allclose(answers, 1 / (1 + np.exp(-inputs[:, :3])), rtol=1e-5)
    assert sizes == together
