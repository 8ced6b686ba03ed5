"""What a model, its labels and its samples can be read from."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter import ExportError, Samples, SourceOptions, export, load_classifier
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from signatures.contract import names

LABELS = 4

UNSAFE = SourceOptions(allow_unsafe=True)


def head(tensor):
    return keras.layers.Dense(LABELS, activation="sigmoid")(tensor)


def features_model():
    features = keras.Input((3,), name="features")
    return keras.Model(features, head(keras.layers.Dropout(0.5)(features)), name="toy")


def picture_model():
    images = keras.Input((8, 8, 3), name="images")
    return keras.Model(images, head(keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(images))))


def two_inputs():
    amount, product = keras.Input((3,), name="amount"), keras.Input((2,), name="product", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(10, 4)(product))
    return keras.Model({"amount": amount, "product": product}, head(keras.layers.Concatenate()([amount, embedded])))


def inputs_in_a_list():
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    return keras.Model([right, left], head(keras.layers.Concatenate()([left, right])))


def string_lookup():
    word = keras.Input((1,), name="word", dtype="string")
    known = keras.layers.StringLookup(vocabulary=["word1", "word2", "word3"])(word)
    return keras.Model(word, head(keras.layers.Flatten()(keras.layers.Embedding(4, 3)(known))))


def inputs_for(model, count=5):
    """Noise for each input of a model, by name."""
    generator = np.random.default_rng(0)
    made = {}
    for tensor in model.inputs:
        shape = (count, *tensor.shape[1:])
        if tensor.dtype == "string":
            made[tensor.name] = generator.choice(np.array(["word1", "word3", "other"], object), shape)
        else:
            made[tensor.name] = generator.integers(0, 2, shape).astype(tensor.dtype)
    return made


def called(model, inputs):
    """The model's own answer to inputs by name."""
    tensors = {name: tf.constant(array) for name, array in inputs.items()}
    structure = keras.tree.map_structure(lambda tensor: tensors[tensor.name], model.input)
    return model(structure, training=False).numpy()


@pytest.mark.parametrize("build", [features_model, picture_model, two_inputs, inputs_in_a_list, string_lookup])
def test_a_keras_exported_saved_model_is_exported_again_with_the_same_answers(build, tmp_path):
    model = build()
    model.export(tmp_path / "toy", verbose=False)

    version = export(load_classifier(str(tmp_path / "toy"), UNSAFE), tmp_path / "out", k=2)

    inputs = inputs_for(model)
    with LoadedVersion(version.path) as loaded:
        declared = set(loaded.signatures[names.SERVING_DEFAULT].inputs) - set(names.LIMITS)
        answer = loaded.call(names.SERVING_DEFAULT, {**inputs, names.K: np.int32(LABELS)})
    assert declared == set(inputs)
    np.testing.assert_allclose(answer[names.PROBABILITIES], called(model, inputs), rtol=1e-5)


def test_a_saved_model_may_run_anything_and_is_loaded_only_when_that_is_allowed(tmp_path):
    features_model().export(tmp_path / "toy", verbose=False)
    with pytest.raises(ExportError, match="--allow-unsafe"):
        load_classifier(str(tmp_path / "toy"))


def broken_saved_models(directory):
    tf.saved_model.save(tf.Module(), directory / "no endpoint")
    (directory / "cut off").mkdir()
    (directory / "cut off" / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    features_model().export(directory / "no weights", verbose=False)
    for file in (directory / "no weights" / "variables").iterdir():
        file.unlink()
    archive = keras.export.ExportArchive()
    model = features_model()
    archive.track(model)
    archive.add_endpoint("serve", lambda features: model(features), [tf.TensorSpec([7, 3], tf.float32, "features")])
    archive.write_out(directory / "seven", verbose=False)
    return {
        "no endpoint": "has no signature and no traced function",
        "cut off": "could not be loaded as a SavedModel",
        "no weights": "could not be loaded as a SavedModel",
        "seven": "any number of examples",
    }


def test_a_saved_model_that_is_broken_is_refused_in_one_sentence(tmp_path):
    for name, words in broken_saved_models(tmp_path).items():
        with pytest.raises(ExportError, match=words) as refused:
            load_classifier(str(tmp_path / name), UNSAFE)
        assert "\n" not in str(refused.value), name


def test_a_legacy_h5_file_is_exported_with_the_same_answers(tmp_path):
    model = picture_model()
    model.save(tmp_path / "toy.h5")

    version = export(load_classifier(str(tmp_path / "toy.h5")), tmp_path / "out", k=2)

    inputs = inputs_for(model)
    with LoadedVersion(version.path) as loaded:
        answer = loaded.call(names.SERVING_DEFAULT, {**inputs, names.K: np.int32(LABELS)})
    np.testing.assert_allclose(answer[names.PROBABILITIES], called(model, inputs), rtol=1e-5)


def test_a_factory_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "import keras\n\n\ndef build():\n    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])\n\n\n"
        "def wrong():\n    return 'a model'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    classifier, _ = examine(load_classifier("ours:build", SourceOptions(activation="softmax")))

    assert (classifier.name, classifier.labels) == ("build", ("0", "1"))
    with pytest.raises(ExportError, match="returned a str, not a Keras model"):
        load_classifier("ours:wrong")
    with pytest.raises(ExportError, match="has no function 'nonesuch'"):
        load_classifier("ours:nonesuch")


@pytest.mark.parametrize("kind", ["empty", "truncated", "escaping"])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_broken_file_is_one_sentence_and_writes_nothing_outside(kind, suffix, tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    file = inside / f"model{suffix}"
    features_model().save(file)
    if kind == "empty":
        file.write_bytes(b"")
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    else:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../escaped.txt", "outside")
            archive.writestr("config.json", "{}")
    with pytest.raises(ExportError, match="could not be loaded as a Keras model") as refused:
        load_classifier(str(file))
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", file.name]


def feature(value):
    if not value:
        return tf.train.Feature(int64_list=tf.train.Int64List())
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if isinstance(value[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=value))
    return tf.train.Feature(float_list=tf.train.FloatList(value=value))


def write_examples(file, examples):
    with tf.io.TFRecordWriter(str(file)) as writer:
        for example in examples:
            features = {name: feature(value) for name, value in example.items()}
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return file


def load(model, tmp_path, samples, **options):
    model.save(tmp_path / "toy.keras")
    return examine(load_classifier(str(tmp_path / "toy.keras"), SourceOptions(samples=samples, **options)))


def test_tf_examples_of_features_become_samples_with_their_labels(tmp_path):
    file = write_examples(
        tmp_path / "samples.tfrecord",
        [
            {"amount": [0.5, 1.0, 2.0], "product": [1, 9], "image/class/label": [0, 3]},
            {"amount": [1.5, 0.0, 0.0], "product": [0, 0], "image/class/label": []},
            {"amount": [1.5, 0.0, 0.0], "product": [0, 0]},
        ],
    )

    classifier, samples = load(two_inputs(), tmp_path, file)

    np.testing.assert_array_equal(samples.inputs["amount"], [[0.5, 1, 2], [1.5, 0, 0], [1.5, 0, 0]])
    np.testing.assert_array_equal(samples.inputs["product"], [[1, 9], [0, 0], [0, 0]])
    assert samples.inputs["product"].dtype == np.int32
    np.testing.assert_array_equal(samples.truth[:2], [[True, False, False, True], [False] * 4])
    # An empty list says that no label is true; an example without the feature says nothing.
    np.testing.assert_array_equal(samples.known, [True, True, False])
    assert export(classifier, tmp_path / "out").quality.samples == 2


def test_tf_examples_of_picture_files_are_decoded_as_a_server_will(tmp_path, sample_images):
    pictures = [file.read_bytes() for file in sample_images[:3]]
    samples = write_examples(tmp_path / "samples.tfrecord", [{"image/encoded": [file]} for file in pictures])

    _, from_records = examine(load_classifier("digits", SourceOptions(samples=samples)))

    of_preset = examine(load_classifier("digits"))[1].rows(0, 3)
    assert list(from_records.images) == pictures
    np.testing.assert_array_equal(from_records.inputs["images"], of_preset.inputs["images"])
    assert from_records.truth is None


def broken_records(directory):
    whole = write_examples(directory / "whole.tfrecord", [{"features": [1.0, 2.0, 3.0]}] * 3).read_bytes()
    (directory / "cut.tfrecord").write_bytes(whole[:-3])
    (directory / "text.tfrecord").write_text("no records at all, and more than a header's bytes of it")
    (directory / "none.tfrecord").write_bytes(b"")
    write_examples(directory / "short.tfrecord", [{"features": [1.0, 2.0]}])
    write_examples(directory / "other.tfrecord", [{"others": [1.0, 2.0, 3.0]}])
    write_examples(directory / "index.tfrecord", [{"features": [1.0, 2.0, 3.0], "image/class/label": [4]}])
    write_examples(directory / "fractions.tfrecord", [{"features": [1.0, 2.0, 3.0], "image/class/label": [-1]}])
    (directory / "folder").mkdir()
    (directory / "text.npz").write_text("no arrays")
    np.savez(directory / "names.npz", others=np.zeros((2, 3)))
    np.savez(directory / "shape.npz", features=np.zeros((2, 4)))
    np.savez(directory / "labels.npz", features=np.zeros((2, 3)), labels=np.zeros((2, 9)))
    for name, wrong in (("half", 0.5), ("partly", -1), ("two", 2), ("text", "yes")):
        labels = np.zeros((2, LABELS)).astype(type(wrong))
        labels[0, 1] = wrong
        np.savez(directory / f"{name} labels.npz", features=np.zeros((2, 3)), labels=labels)
    np.savez(directory / "words.npz", features=np.full((2, 3), "word"))
    with (directory / "bare.npz").open("wb") as stream:
        np.save(stream, np.zeros((2, 3)))
    whole = (directory / "shape.npz").read_bytes()
    (directory / "cut.npz").write_bytes(whole[: len(whole) // 2])
    return {
        "cut.tfrecord": "could not be read as tf.Examples",
        "text.tfrecord": "could not be read as tf.Examples",
        "none.tfrecord": "holds no records",
        "short.tfrecord": "could not be read as tf.Examples",
        "other.tfrecord": "could not be read as tf.Examples",
        "index.tfrecord": "image/class/label 4; the model's labels are 0 to 3",
        "fractions.tfrecord": "image/class/label -1; the model's labels are 0 to 3",
        "half labels.npz": "labels other than 0 and 1",
        "partly labels.npz": "set its whole row to -1",
        "two labels.npz": "labels other than 0 and 1",
        "text labels.npz": "labels other than 0 and 1",
        "words.npz": "holds features of type <U4; the model takes float32",
        "cut.npz": "could not be read as .npz",
        "bare.npz": "could not be read as .npz",
        "folder": "no PNG or JPEG files",
        "text.npz": "could not be read as .npz",
        "names.npz": "the model's inputs are",
        "shape.npz": "the model takes",
        "labels.npz": "labels of shape",
        "nowhere.npz": "holds no samples",
    }


def test_samples_that_do_not_fit_are_refused_in_one_sentence(tmp_path):
    features_model().save(tmp_path / "toy.keras")
    for name, words in broken_records(tmp_path).items():
        with pytest.raises(ExportError, match=words) as refused:
            examine(load_classifier(str(tmp_path / "toy.keras"), SourceOptions(samples=tmp_path / name)))
        assert "\n" not in str(refused.value), name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "could not be read as JSON"),
        ('{"a.png": ["nonesuch"]}', "the label 'nonesuch'"),
        # These were accepted: the second as the labels 3 and 4, the others as if no label was true.
        ('{"a.png": ["3"], "b.png": ["4"]}', "names 'b.png', but .* has no image of that name"),
        ('{"a.png": "34"}', "has \"34\" for 'a.png'; write a list of labels"),
        ('{"a.png": {}}', "write a list of labels"),
        ('{"a.png": null}', "no entry if the truth is unknown"),
        ('[["a.png", ["3"]]]', "holds a list; write an object"),
    ],
)
def test_a_folders_labels_must_be_readable_and_the_models(text, words, tmp_path, sample_images):
    (tmp_path / "a.png").write_bytes(sample_images[0].read_bytes())
    (tmp_path / "labels.json").write_text(text)
    with pytest.raises(ExportError, match=words):
        examine(load_classifier("digits", SourceOptions(samples=tmp_path)))


def test_pictures_need_a_preprocessing(tmp_path, sample_images):
    (tmp_path / "a.png").write_bytes(sample_images[0].read_bytes())
    with pytest.raises(ExportError, match="--preprocessing"):
        load(picture_model(), tmp_path, tmp_path)


def test_a_folder_without_labels_says_nothing_of_the_truth(tmp_path, sample_images):
    (tmp_path / "a.png").write_bytes(sample_images[0].read_bytes())
    assert examine(load_classifier("digits", SourceOptions(samples=tmp_path)))[1].truth is None
    (tmp_path / "labels.json").write_text(json.dumps({"a.png": ["3"]}))
    assert examine(load_classifier("digits", SourceOptions(samples=tmp_path)))[1].truth.sum() == 1


def test_a_picture_without_an_entry_counted_as_one_without_a_true_label(tmp_path, sample_images):
    for name, picture in zip(("a.png", "b.png", "c.png", "d.png"), sample_images, strict=False):
        (tmp_path / name).write_bytes(picture.read_bytes())
    # The byte order mark is what some editors begin every file with.
    (tmp_path / "labels.json").write_text('{"b.png": ["1"], "c.png": []}', encoding="utf-8-sig")

    classifier, samples = examine(load_classifier("digits", SourceOptions(samples=tmp_path)))

    np.testing.assert_array_equal(samples.known, [False, True, True, False])
    version = export(classifier, tmp_path / "out", k=2)
    assert version.quality.samples == 2
    record = json.loads((version.path / "assets.extra" / "export.json").read_text())
    assert (record["samples"]["count"], record["quality"]["samples"]) == (4, 2)


def test_a_folder_whose_labels_name_no_picture_says_nothing_of_the_truth(tmp_path, sample_images):
    (tmp_path / "a.png").write_bytes(sample_images[0].read_bytes())
    (tmp_path / "labels.json").write_text("{}")
    assert examine(load_classifier("digits", SourceOptions(samples=tmp_path)))[1].truth is None


@pytest.mark.parametrize("unknown", [-1, float("nan")])
def test_a_row_of_labels_may_be_unknown(unknown, tmp_path):
    labels = np.array([[1, 0, 0, 1], [unknown] * LABELS, [0] * LABELS])
    np.savez(tmp_path / "samples.npz", features=np.zeros((3, 3)), labels=labels)
    _, samples = load(features_model(), tmp_path, tmp_path / "samples.npz")
    np.testing.assert_array_equal(samples.known, [True, False, True])
    np.testing.assert_array_equal(samples.truth[samples.known], labels[samples.known].astype(bool))


@pytest.mark.parametrize(
    ("product", "words"),
    [
        ([[1.5, 2]], "product = 1.5, but the model takes int32"),
        ([[2**32, 2]], "product = 4294967296, but the model takes int32"),
        ([[float("nan"), 2]], "product = nan, but the model takes int32"),
        ([[1, 10]], "product = 10 in sample 0; the model's embedding takes ids from 0 to 9"),
        ([[-1, 2]], "product = -1 in sample 0; the model's embedding takes ids from 0 to 9"),
    ],
)
def test_numbers_that_the_model_cannot_take_were_cut_or_a_traceback(product, words, tmp_path):
    np.savez(tmp_path / "samples.npz", amount=np.zeros((1, 3)), product=np.array(product))
    with pytest.raises(ExportError, match=words) as refused:
        load(two_inputs(), tmp_path, tmp_path / "samples.npz")
    assert "\n" not in str(refused.value)
    if product == [[2**32, 2]]:
        file = write_examples(tmp_path / "samples.tfrecord", [{"amount": [1.0, 2.0, 3.0], "product": product[0]}])
        with pytest.raises(ExportError, match=words):
            load(two_inputs(), tmp_path, file)


def test_ids_that_an_inner_embedding_lacks_were_a_traceback(tmp_path):
    ids = keras.Input((2,), name="ids", dtype="int32")
    embedded = keras.layers.Flatten()(keras.layers.Embedding(10, 4)(keras.layers.Lambda(lambda x: x * 2)(ids)))
    np.savez(tmp_path / "samples.npz", ids=np.array([[1, 7]], np.int32))
    with pytest.raises(
        ExportError, match=r"The model fails for the samples: indices\[0,1\] = 14 is not in \[0, 10\)"
    ) as refused:
        load(keras.Model(ids, head(embedded)), tmp_path, tmp_path / "samples.npz", allow_unsafe=True)
    assert "\n" not in str(refused.value)


def test_samples_passed_to_export_go_before_those_of_the_preset(tmp_path):
    samples = Samples({"images": np.zeros((3, 32, 32, 1), np.float32)})

    version = export(load_classifier("digits"), tmp_path, k=2, samples=samples)

    assert version.quality is None
    record = json.loads((version.path / "assets.extra" / "export.json").read_text())
    assert record["samples"] == {"count": 3, "made_up": False}
