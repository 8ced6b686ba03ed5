"""Model kinds: each is exported, so proven against Keras and loaded the server's way, and asked once more here."""

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter import Classifier, ExportError, ExportOptions, Samples, export
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from signatures import Batching
from signatures.contract import names

LABELS = 5


def head(tensor):
    return keras.layers.Dense(LABELS, activation="sigmoid")(tensor)


def sequential():
    return keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(LABELS, activation="sigmoid")]
    )


def image_model():
    images = keras.Input((8, 8, 3))
    return keras.Model(images, head(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))))


def two_inputs_by_name():
    amount = keras.Input((3,), name="amount")
    product = keras.Input((2,), name="product", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(10, 4)(product))
    return keras.Model({"amount": amount, "product": product}, head(keras.layers.Concatenate()([amount, embedded])))


def two_inputs_in_a_list():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    return keras.Model([right, left], head(keras.layers.Concatenate()([left, right])))


def string_lookup():
    word = keras.Input((1,), name="word", dtype="string")
    known = keras.layers.StringLookup(vocabulary=["word1", "word2", "word3"])(word)
    return keras.Model(word, head(keras.layers.Flatten()(keras.layers.Embedding(4, 3)(known))))


def text_vectorization():
    vectorize = keras.layers.TextVectorization(max_tokens=10, output_sequence_length=4)
    vectorize.adapt(["word1 word2", "word3"])
    text = keras.Input((), name="text", dtype="string")
    return keras.Model(
        text, head(keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 3)(vectorize(text))))
    )


def sequences_of_any_length():
    ids = keras.Input((None,), dtype="int32", name="ids")
    return keras.Model(ids, head(keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 3)(ids))))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(LABELS, activation="sigmoid")
        self.dropout = keras.layers.Dropout(0.5)

    def call(self, x, training=False):
        return self.dense(self.dropout(x, training=training))


class SubclassedWithDict(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(LABELS, activation="sigmoid")

    def call(self, inputs):
        return self.dense(keras.ops.concatenate([inputs["height"], inputs["weight"]], axis=1))


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 4), np.float32))
    return model


def subclassed_with_dict():
    model = SubclassedWithDict()
    model({"height": np.zeros((2, 1), np.float32), "weight": np.zeros((2, 2), np.float32)})
    return model


KINDS = {
    sequential: ["inputs"],
    image_model: ["images"],
    two_inputs_by_name: ["amount", "product"],
    two_inputs_in_a_list: ["left", "right"],
    string_lookup: ["word"],
    text_vectorization: ["text"],
    sequences_of_any_length: ["ids"],
    subclassed: ["inputs"],
    subclassed_with_dict: ["height", "weight"],
}


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_every_kind_of_classifier_is_served_under_readable_input_names(build, tmp_path):
    keras.utils.set_random_seed(1)
    classifier, samples = examine(Classifier(build(), "toy"))

    published = export(classifier, tmp_path, k=2)

    with LoadedVersion(published.path) as version:
        assert sorted(set(version.signatures[names.SERVING_DEFAULT].inputs) - set(names.LIMITS)) == KINDS[build]
        inputs = {name: np.concatenate([array[:7]]) for name, array in samples.inputs.items()}
        dense = classifier.dense_answers(Samples(inputs))
        answer = version.call(names.SERVING_DEFAULT, {**inputs, names.K: np.arange(7, dtype=np.int32)})
    probabilities = answer[names.PROBABILITIES]
    assert (np.count_nonzero(probabilities, axis=1) == np.minimum(np.arange(7), LABELS)).all()
    np.testing.assert_allclose(probabilities[probabilities > 0], dense[probabilities > 0], rtol=1e-4)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    keras.utils.set_random_seed(1)
    classifier = Classifier(image_model(), "toy", labels=tuple("abcde"), preprocessing="unit")
    return classifier, export(classifier, tmp_path_factory.mktemp("out"), k=2)


def test_a_known_preprocessing_brings_the_picture_signatures(published):
    _, version = published
    assert [signature.key for signature in version.signatures] == [
        "serving_default", "top_k", "fixed_k", "classify", "encoded_images", "encoded_images_top_k", "export_info",
    ]  # fmt: skip


def test_export_json_says_what_was_published(published):
    _, version = published
    record = json.loads((version.path / "assets.extra" / "export.json").read_text())

    assert record["export_id"] == version.export_id
    assert (record["model"], record["k"], record["labels"]) == ("toy", 2, list("abcde"))
    assert record["preprocessing"] == "unit"
    assert record["tensorflow"] == tf.__version__
    assert record["signatures"]["top_k"]["outputs"]["labels"] == {"dtype": "string", "shape": [-1, -1]}
    files = {path.relative_to(version.path).as_posix(): path for path in version.path.rglob("*") if path.is_file()}
    del files["assets.extra/export.json"]
    assert record["files"] == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    assert record["golden_digest"] == record["files"]["assets.extra/golden_predictions"]


def test_metadata_declares_true_shapes_and_the_default_k(published):
    _, version = published
    with LoadedVersion(version.path) as loaded:
        default = loaded.signatures["serving_default"]
        assert [dim.size for dim in default.inputs["images"].tensor_shape.dim] == [-1, 8, 8, 3]
        assert default.inputs["k"].tensor_shape.unknown_rank
        assert tf.make_ndarray(default.defaults["k"]) == 2
        assert loaded.signatures["classify"].method_name == "tensorflow/serving/classify"
        assert not loaded.signatures["fixed_k"].defaults


def test_what_no_tf_example_can_declare_is_served_without_classify(tmp_path):
    version = export(Classifier(sequences_of_any_length(), "toy"), tmp_path)
    assert [signature.key for signature in version.signatures] == ["serving_default", "top_k", "fixed_k", "export_info"]


def test_logits_need_an_activation(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(LABELS, kernel_initializer="ones", bias_initializer="ones")]
    )

    with pytest.raises(ExportError, match="--activation sigmoid or --activation softmax"):
        export(Classifier(model, "toy"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    version = export(Classifier(model, "toy", activation="softmax"), tmp_path, k=LABELS)
    with LoadedVersion(version.path) as loaded:
        answer = loaded.call(names.SERVING_DEFAULT, {"inputs": np.ones((2, 4), np.float32)})
    np.testing.assert_allclose(answer[names.PROBABILITIES].sum(axis=1), 1, rtol=1e-5)


def test_batching_in_the_graph_leaves_the_contract_as_it_is(published, tmp_path):
    classifier, _ = published
    version = export(classifier, tmp_path, options=ExportOptions(batching=Batching(max_batch_size=8)))

    with LoadedVersion(version.path) as loaded:
        ops = [node for function in loaded.graph_def.library.function for node in function.node_def]
        batch_ops = [node for node in ops if node.op == "BatchFunction"]
        assert batch_ops
        assert not any(node.device for node in batch_ops)
        assert any("CPU" in node.device for node in ops if node.op == "EnsureShape")


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_says_what_it_changed_and_leaves_the_model_alone(published, tmp_path, precision):
    classifier, _ = published
    before = [layer.dtype_policy.name for layer in classifier.model.layers]

    version = export(classifier, tmp_path, options=ExportOptions(precision=precision))

    assert 0 < version.deviation.largest < 0.05
    assert 0 <= version.deviation.changed_sets <= 1
    assert [layer.dtype_policy.name for layer in classifier.model.layers] == before
    with LoadedVersion(version.path) as loaded:
        assert tf.as_dtype(loaded.signatures["serving_default"].outputs["probabilities"].dtype) == tf.float32


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)]), r"shape \[B, 6, 6, 2\]"),
        (lambda: keras.Model(a := keras.Input((4,)), [head(a), head(a)]), "has the outputs output_0, output_1: choose"),
        (lambda: keras.Model(a := keras.Input((4,), name="k"), head(a)), "input name 'k' is reserved"),
        (Subclassed, "call it once on data"),
    ],
    ids=["four-dimensional output", "two outputs", "an input called k", "never called"],
)
def test_what_is_no_classifier_is_refused_in_a_sentence(build, complaint):
    with pytest.raises(ExportError, match=complaint):
        examine(Classifier(build(), "toy"))


@pytest.mark.parametrize("name", ["deploy", "a/b", "", ".hidden", "a b", "../up"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(name):
    with pytest.raises(ExportError, match="cannot be a model's name"):
        Classifier(sequential(), name)


@pytest.mark.parametrize("k", [0, -1, LABELS + 1])
def test_a_default_k_that_keeps_nothing_or_everything_and_more_is_refused(k, tmp_path):
    with pytest.raises(ExportError, match=f"k = {k}"):
        export(Classifier(sequential(), "toy"), tmp_path, k=k)


def test_labels_must_be_as_many_as_outputs():
    with pytest.raises(ExportError, match="2 labels were given for a model with 5 outputs"):
        examine(Classifier(sequential(), "toy", labels=("a", "b")))


def test_a_model_that_answers_nan_is_refused(tmp_path):
    model = sequential()
    model.layers[-1].bias.assign([float("nan")] * LABELS)
    with pytest.raises(ExportError, match="NaN for sample 0"):
        export(Classifier(model, "toy"), tmp_path)


def test_all_signatures_share_one_backbone_and_its_weights(tmp_path):
    """With MobileNetV2, whose graph is large: all signatures take little more room than one."""
    from exporter import SourceOptions, load_classifier
    from exporter.writing.saved_model import write_saved_model
    from signatures import Identity, compose_signatures

    classifier, _ = examine(load_classifier("mobilenetv2", SourceOptions(weights="none")))

    def write(directory, keys):
        def sign(read_export_id):
            identity = Identity(read_export_id, "m", 2, classifier.labels, classifier.preprocessing, "")
            return compose_signatures(classifier.backbone(None, False), identity, keys)

        directory.mkdir()
        write_saved_model(directory, classifier.model, "id", sign)
        return (directory / "saved_model.pb").stat().st_size

    assert write(tmp_path / "all", None) <= 1.6 * write(tmp_path / "one", [names.SERVING_DEFAULT])
    variables = sum(file.stat().st_size for file in (tmp_path / "all" / "variables").glob("variables.data*"))
    assert classifier.weight_bytes() <= variables <= 1.01 * classifier.weight_bytes()
