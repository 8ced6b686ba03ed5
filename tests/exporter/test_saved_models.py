"""SavedModels that other tools wrote: of a tf.Module, of TensorFlow 1, with several signatures and outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter import ExportError, Samples, SourceOptions, export, load_classifier
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from signatures.contract import names

v1 = tf.compat.v1
N = 3


def load(directory, **options):
    return load_classifier(str(directory), SourceOptions(allow_unsafe=True, **options))


def dense_answer(version, inputs):
    with LoadedVersion(version.path) as loaded:
        return loaded.call(names.SERVING_DEFAULT, {**inputs, names.K: np.int32(N)})


class Words(tf.Module):
    """Scores of words that are looked up, with weights, a table and several functions."""

    def __init__(self):
        super().__init__()
        initializer = tf.lookup.KeyValueTensorInitializer(["cat", "dog"], [0, 1], value_dtype=tf.int64)
        self.table = tf.lookup.StaticHashTable(initializer, default_value=2)
        self.weights = tf.Variable(np.random.default_rng(1).normal(size=(4, N)).astype(np.float32))
        self.unused = tf.Variable(tf.zeros([1000]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "amounts"), tf.TensorSpec([None], tf.string)])
    def score(self, amounts, word):
        logits = amounts @ self.weights + tf.one_hot(self.table.lookup(word), N)
        return {"scores": tf.sigmoid(logits), "logits": logits, "place": self.table.lookup(word)}

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, "amounts")])
    def plain(self, amounts):
        return tf.sigmoid(amounts @ self.weights)

    @tf.function
    def polymorphic(self, amounts):
        return tf.sigmoid(amounts @ self.weights)


WORDS = {
    "amounts": np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32),
    "word": np.array([b"cat", b"dog", b"owl"], object),
}
AMOUNTS = {"amounts": WORDS["amounts"]}


@pytest.fixture(scope="module")
def module(tmp_path_factory):
    """A tf.Module, and the directory that it was saved to with two signatures."""
    words, directory = Words(), tmp_path_factory.mktemp("saved") / "words"
    words.polymorphic(tf.zeros([2, 4]))
    words.polymorphic(tf.zeros([3, 4]))
    tf.saved_model.save(words, directory, signatures={"score": words.score, "plain": words.plain})
    return words, directory


def test_a_signature_of_a_tf_module_is_exported_with_its_inputs_tables_and_answers(module, tmp_path):
    words, directory = module
    classifier = load(directory, endpoint="score", output_name="scores", also_outputs=("logits", "place"))

    version = export(classifier, tmp_path, k=2, samples=Samples(WORDS))

    expected = words.score(**{name: tf.constant(value) for name, value in WORDS.items()})
    answer = dense_answer(version, WORDS)
    np.testing.assert_allclose(answer["probabilities"], expected["scores"], rtol=1e-5)
    np.testing.assert_allclose(answer["logits"], expected["logits"], rtol=1e-5)
    np.testing.assert_array_equal(answer["place"], [0, 1, 2])
    # What the signature does not use is not exported: 1,000 numbers would be 4,000 bytes.
    assert sum(file.stat().st_size for file in (version.path / "variables").iterdir()) < 2000


@pytest.mark.parametrize("endpoint", ["plain", "score"])
def test_each_signature_of_a_tf_module_can_be_chosen(module, endpoint, tmp_path):
    _, directory = module
    options = {"output_name": "scores"} if endpoint == "score" else {}
    classifier, samples = examine(load(directory, endpoint=endpoint, **options))
    assert set(samples.inputs) == {"plain": {"amounts"}, "score": {"amounts", "word"}}[endpoint]
    assert len(classifier.labels) == N


def test_a_traced_function_without_a_signature_is_an_endpoint_too(tmp_path):
    words = Words()
    tf.saved_model.save(words, tmp_path / "words", signatures=None)

    version = export(load(tmp_path / "words", endpoint="plain"), tmp_path / "out", samples=Samples(AMOUNTS))

    np.testing.assert_allclose(
        dense_answer(version, AMOUNTS)["probabilities"], words.plain(WORDS["amounts"]), rtol=1e-5
    )


def test_a_lone_signature_needs_no_choice(tmp_path):
    words = Words()
    tf.saved_model.save(words, tmp_path / "words", signatures={"mine": words.plain})
    assert len(examine(load(tmp_path / "words"))[0].labels) == N


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "has the endpoints plain, polymorphic, score: choose one with --endpoint"),
        ({"endpoint": "nonesuch"}, "no endpoint 'nonesuch': choose one of plain, polymorphic, score with --endpoint"),
        ({"endpoint": "polymorphic"}, "has 2 traces of polymorphic"),
        ({"endpoint": "score"}, "has the outputs logits, place, scores: choose the one .* with --output-name NAME"),
        ({"endpoint": "score", "output_name": "x"}, "no output 'x': choose one of logits, place, scores"),
        ({"endpoint": "score", "output_name": "logits", "also_outputs": ("scores",)}, "'scores' cannot be served with"),
    ],
)
def test_a_choice_that_is_missing_or_wrong_is_one_sentence(module, options, complaint):
    _, directory = module
    with pytest.raises(ExportError, match=complaint) as refused:
        examine(load(directory, **options))
    assert "\n" not in str(refused.value)


def test_an_endpoint_of_what_is_no_saved_model_is_refused(tmp_path):
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(N)]).save(tmp_path / "toy.keras")
    with pytest.raises(ExportError, match="--endpoint picks a signature of a SavedModel"):
        load(tmp_path / "toy.keras", endpoint="serve")


def signature(inputs, outputs):
    infos = [{name: v1.saved_model.utils.build_tensor_info(each) for name, each in tensors.items()}
             for tensors in (inputs, outputs)]  # fmt: skip
    return v1.saved_model.signature_def_utils.build_signature_def(*infos, names.SERVING_DEFAULT)


def write_with_tensorflow_1(directory, vocabulary, resources):
    """Write a SavedModel as TensorFlow 1 did: a graph with placeholders, variables, an asset and two signatures.

    Returns:
        Its answers to WORDS.
    """
    vocabulary.write_text("cat\ndog\n")
    with tf.Graph().as_default(), v1.Session() as session:
        amounts = v1.placeholder(tf.float32, [None, 4], "x")
        word = v1.placeholder(tf.string, [None], "w")
        weights = v1.get_variable(
            "layer/weights", [4, N], initializer=v1.random_normal_initializer(seed=1), use_resource=resources
        )
        bias = v1.get_variable("bias", [N], initializer=v1.ones_initializer(), use_resource=resources)
        asset = tf.constant(str(vocabulary))
        v1.add_to_collection(v1.GraphKeys.ASSET_FILEPATHS, asset)
        index = tf.lookup.TextFileIndex
        lines = tf.lookup.TextFileInitializer(asset, tf.string, index.WHOLE_LINE, tf.int64, index.LINE_NUMBER)
        place = v1.lookup.StaticVocabularyTable(lines, 1).lookup(word)
        logits = tf.nn.bias_add(tf.matmul(amounts, weights), bias)
        scores = tf.sigmoid(logits + tf.one_hot(place, N))
        plain = tf.sigmoid(logits)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "predict": signature({"amounts": amounts, "word": word}, {"scores": scores, "place": place}),
                "plain": signature({"amounts": amounts}, {"scores": plain}),
            },
            assets_collection=v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
            main_op=v1.tables_initializer(),
        )
        builder.save()
        return session.run({"scores": scores, "plain": plain}, {amounts: WORDS["amounts"], word: WORDS["word"]})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("resources", [True, False], ids=["resource variables", "reference variables"])
def test_a_saved_model_of_tensorflow_1_is_exported_with_its_variables_and_tables(resources, tmp_path):
    answers = write_with_tensorflow_1(tmp_path / "old", tmp_path / "words.txt", resources)
    chosen = {"endpoint": "predict", "output_name": "scores", "also_outputs": ("place",)}

    version = export(load(tmp_path / "old", **chosen), tmp_path / "out", samples=Samples(WORDS))
    plain = export(load(tmp_path / "old", endpoint="plain", name="plain"), tmp_path / "out", samples=Samples(AMOUNTS))

    answer = dense_answer(version, WORDS)
    np.testing.assert_allclose(answer["probabilities"], answers["scores"], rtol=1e-5)
    np.testing.assert_array_equal(answer["place"], [0, 1, 2])
    assert [file.name for file in (version.path / "assets").iterdir() if file.name != "export_id"] == ["words.txt"]
    np.testing.assert_allclose(dense_answer(plain, AMOUNTS)["probabilities"], answers["plain"], rtol=1e-5)


def test_a_signature_without_inputs_is_refused(tmp_path):
    module = tf.Module()
    module.constant = tf.function(lambda: tf.ones([1, N]), input_signature=[])
    tf.saved_model.save(module, tmp_path / "constant", signatures={"constant": module.constant})
    with pytest.raises(ExportError, match="takes no inputs"):
        load(tmp_path / "constant", endpoint="constant")
