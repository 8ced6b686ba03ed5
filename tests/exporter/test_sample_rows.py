"""Samples of JSON lines and of recorded requests."""

import base64
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from client import Recorder, ServingClient
from exporter import ExportError, SourceOptions, export, load_classifier
from exporter.samples.files import read_samples
from exporter.sources.classifier import Classifier
from exporter.sources.examine import examine
from server import ModelServer, Settings

LABELS = ("a", "b", "c")


def scores(tensor):
    return keras.layers.Dense(len(LABELS), activation="sigmoid")(tensor)


def text_model():
    text = keras.Input((), dtype="string", name="text")
    counted = keras.layers.TextVectorization(vocabulary=["cat", "dog"], output_mode="multi_hot")(text)
    return Classifier(keras.Model(text, scores(counted)), "texts", labels=LABELS)


def mixed_model():
    age = keras.Input((1,), name="age")
    codes = keras.Input((None,), dtype="int32", name="codes")
    pooled = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(10, 4, mask_zero=True)(codes))
    return Classifier(keras.Model([age, codes], scores(keras.layers.Concatenate()([age, pooled]))), "mixed", LABELS)


def lines(file, *values):
    file.write_text("".join(f"{json.dumps(value)}\n" for value in values))
    return file


def test_json_lines_of_a_text_model_are_samples_with_their_truth(tmp_path):
    asked = {"text": {"b64": base64.b64encode(b"owl\0").decode()}, "k": 3, "labels": []}
    file = lines(tmp_path / "texts.jsonl", {"text": "a cat", "labels": ["a", "c"]}, "a dog", asked)

    samples = read_samples(file, text_model())

    assert samples.inputs["text"].tolist() == ["a cat", "a dog", b"owl\0"]
    np.testing.assert_array_equal(samples.known, [True, False, True])
    np.testing.assert_array_equal(samples.truth[0], [True, False, True])
    assert not samples.truth[2].any()
    classifier = Classifier(text_model().model, "texts", labels=LABELS, sample_path=file)
    version = export(classifier, tmp_path / "out")
    assert version.quality.samples == 2


def test_json_lines_of_several_inputs_keep_the_most_frequent_shape_and_say_what_is_left_out(tmp_path):
    rows = [{"age": 36, "codes": [1, 2, 3]}, {"age": [2.5], "codes": [4, 5, 6]}, {"age": 1, "codes": [7]}]
    file = lines(tmp_path / "mixed.json", *rows)
    classifier = Classifier(mixed_model().model, "mixed", labels=LABELS, sample_path=file)

    samples = read_samples(file, classifier)

    np.testing.assert_array_equal(samples.inputs["age"], np.array([[36], [2.5]], np.float32))
    np.testing.assert_array_equal(samples.inputs["codes"], [[1, 2, 3], [4, 5, 6]])
    assert samples.inputs["codes"].dtype == np.int32
    version = export(classifier, tmp_path / "out")
    assert any(warning.startswith("1 examples differ in shape from the 2") for warning in version.warnings)


def test_json_lines_of_image_files_are_decoded_as_a_server_will(tmp_path, sample_images):
    files = [file.read_bytes() for file in sample_images[:2]]
    held = [{"encoded_images": {"b64": base64.b64encode(file).decode()}} for file in files]
    _, samples = examine(load_classifier("digits", SourceOptions(samples=lines(tmp_path / "images.jsonl", *held))))

    assert list(samples.images) == files
    of_preset = examine(load_classifier("digits"))[1].rows(0, 2)
    np.testing.assert_array_equal(samples.inputs["images"], of_preset.inputs["images"])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": ', "line 2 is not JSON"),
        ('{"texts": "a"}', r"line 2 holds \['texts'\]; the model's inputs are \['text'\]"),
        ('{"text": 3}', "line 2 holds text = 3; the model takes strings"),
        ('{"text": ["a", "b"]}', r"line 2 holds text of shape \[2\]; the model takes rows of \(\)"),
        ('{"text": "a", "labels": ["z"]}', "names the label 'z'"),
        ('{"text": "a", "labels": "a"}', "labels is 'a', and must be a list"),
        ('{"text": {"b64": "?"}}', "is not base64"),
        ('{"image/encoded": {"b64": "AAAA"}}', "line 2 holds \\['image/encoded'\\]|is an image; say with"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path, line, complaint):
    file = tmp_path / "texts.jsonl"
    file.write_text(f'"a cat"\n{line}\n')
    with pytest.raises(ExportError, match=complaint) as refused:
        read_samples(file, text_model())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"age": 1, "codes": [1.5]}, "codes = 1.5, but the model takes int32"),
        ({"age": None, "codes": [1]}, "age of type object; the model takes float32"),
        ({"age": 1, "codes": [[1], [1, 2]]}, "codes as lists of different lengths"),
        ({"age": "x", "codes": [1]}, "age of type <U1; the model takes float32"),
        (3, "is a bare value, but the model has several inputs"),
    ],
)
def test_a_value_that_does_not_fit_is_named(tmp_path, row, complaint):
    with pytest.raises(ExportError, match=complaint):
        read_samples(lines(tmp_path / "mixed.jsonl", row), mixed_model())


def test_empty_files_and_files_of_something_else_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "notes.txt").write_text("no samples, and longer than the header of a record")
    with pytest.raises(ExportError, match="holds no examples"):
        read_samples(tmp_path / "empty.jsonl", text_model())
    with pytest.raises(ExportError, match=r"holds no samples: pass .* JSON lines \(.jsonl\) or a TFRecord file"):
        read_samples(tmp_path / "notes.txt", text_model())


def test_an_array_without_examples_was_a_traceback(tmp_path):
    np.savez(tmp_path / "samples.npz", age=np.zeros((2, 1), np.float32), codes=np.int32(1))
    with pytest.raises(ExportError, match=r"holds codes of shape \[\]; the model takes \(None, None\)"):
        read_samples(tmp_path / "samples.npz", mixed_model())


@pytest.fixture(scope="module")
def traffic(digits_output, sample_images, tmp_path_factory):
    """A file of recorded requests to several signatures, and the pictures that they asked about, in order."""
    file = tmp_path_factory.mktemp("traffic") / "traffic.tfrecord"
    digits = examine(load_classifier("digits"))[1]
    pictures = [picture.read_bytes() for picture in sample_images]
    settings = Settings(model_name="digits", model_base_path=str(digits_output / "digits"))
    with (
        ModelServer(settings) as server,
        Recorder(file) as recorder,
        ServingClient(f"localhost:{server.port}", "digits", record=recorder) as client,
    ):
        client.predict(digits.inputs["images"][:3], k=[1, 2, 3], signature="top_k")
        client.predict({"encoded_images": np.array(pictures[3:5], object)}, signature="encoded_images")
        client.info()
        client.classify([{"image/encoded": pictures[5]}])
    return file, digits.rows(0, 6)


def test_recorded_traffic_of_mixed_signatures_is_taken_as_samples(traffic, tmp_path):
    file, asked = traffic
    renamed = tmp_path / "traffic.tfrecord.1"
    renamed.write_bytes(file.read_bytes())

    for path in (file, renamed):
        samples = read_samples(path, load_classifier("digits"))
        np.testing.assert_array_equal(samples.inputs["images"], asked.inputs["images"])
        assert samples.truth is None
    version = export(load_classifier("digits", SourceOptions(samples=file)), tmp_path / "out")
    record = json.loads((version.path / "assets.extra" / "export.json").read_text())
    assert record["samples"] == {"count": 6, "made_up": False}


def test_requests_of_a_text_model_keep_their_bytes(tmp_path):
    log = prediction_log_pb2.PredictionLog()
    texts = tf.make_tensor_proto(np.array([b"a cat\0", b"a dog"], object))
    log.predict_log.request.inputs["text"].CopyFrom(texts)
    log.predict_log.request.inputs["k"].CopyFrom(tf.make_tensor_proto(2))
    with tf.io.TFRecordWriter(str(tmp_path / "texts.tfrecord")) as writer:
        writer.write(log.SerializeToString())
    samples = read_samples(tmp_path / "texts.tfrecord", text_model())
    assert samples.inputs["text"].tolist() == [b"a cat\0", b"a dog"]


def test_classify_requests_of_raw_features_are_samples(tmp_path):
    log = prediction_log_pb2.PredictionLog()
    example = log.classify_log.request.input.example_list.examples.add()
    example.features.feature["age"].float_list.value.append(2.5)
    example.features.feature["codes"].int64_list.value.extend([1, 2])
    example.features.feature["k"].int64_list.value.append(1)
    with tf.io.TFRecordWriter(str(tmp_path / "mixed.tfrecord")) as writer:
        writer.write(log.SerializeToString())
    samples = read_samples(tmp_path / "mixed.tfrecord", mixed_model())
    assert (samples.inputs["age"].tolist(), samples.inputs["codes"].tolist()) == ([[2.5]], [[1, 2]])


def test_requests_to_a_model_with_other_inputs_are_refused_with_their_record(traffic):
    file, _ = traffic
    with pytest.raises(ExportError, match=r"record 1 holds \['images'\]; the model's inputs are \['text'\]"):
        read_samples(file, text_model())


def test_recorded_traffic_that_is_cut_off_is_refused(traffic, tmp_path):
    file, _ = traffic
    (tmp_path / "cut.tfrecord").write_bytes(file.read_bytes()[:-3])
    with pytest.raises(ExportError, match=r"could not be read as tf\.Examples or recorded"):
        read_samples(tmp_path / "cut.tfrecord", load_classifier("digits"))
