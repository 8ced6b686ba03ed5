"""Samples of TFRecord files, images and folders."""

import base64
import contextlib
import io
import json

import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the values")

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from client import InputError, ServingClient
from client.recording.logs import log_record, recorded_requests
from client.recording.tfrecord import framed, read_records
from client.rpc.calls import CLASSIFY, PREDICT, classify_call, identity_call, predict_call
from client.rpc.examples import example_message
from client.rpc.messages import PredictionLog
from client.rpc.metadata import Metadata, Signature, Target, TensorInfo
from client.samples import Sample, inputs_of, read_samples, truth_of
from client.samples.images import png
from signatures.contract import names

TABLE = {
    "age": TensorInfo("float32", (-1, 1)),
    "codes": TensorInfo("int32", (-1, 3)),
    "name": TensorInfo("string", (-1,)),
}
TOKENS = {"tokens": TensorInfo("int32", (-1, -1))}
IMAGES = {"images": TensorInfo("float32", (-1, 4, 4, 1))}
ROW = {"age": 36.5, "codes": [1, 2, 3], "name": "Ada"}
PIXELS = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)


def served(inputs):
    """Metadata of a model with these inputs and three labels, which takes its images as files too."""
    k = {names.K: TensorInfo("int32", None, np.array(2, np.int32))}
    dense = {names.PROBABILITIES: TensorInfo("float32", (-1, 3))}
    encoded = {names.ENCODED_IMAGES: TensorInfo("string", (-1,))}
    return Metadata(
        "model",
        1,
        {
            key: Signature(key, "predict", {**own, **k}, dense)
            for key, own in ((names.SERVING_DEFAULT, inputs), (names.ENCODED_IMAGES, encoded))
        },
    )


def predict(arrays, signature=names.SERVING_DEFAULT):
    return b"".join(log_record(PREDICT, predict_call(Target("model"), signature, arrays).request))


def classify(*examples):
    request = classify_call(Target("model"), names.CLASSIFY, examples).request
    return b"".join(log_record(CLASSIFY, request))


def example(**features):
    return b"".join(framed(example_message(features).SerializeToString()))


@pytest.fixture
def read(tmp_path):
    """Read a file's content as samples of a model with these inputs."""

    def read(inputs, content, name="samples.tfrecord"):
        file = tmp_path / name
        file.write_bytes(content)
        return read_samples([file], served(inputs), "unit")

    return read


def test_features_are_inputs_by_name_and_others_are_left_out(read):
    content = example(**ROW, k=3, min_score=0.25, comment="left out", **{"image/class/label": [0, 2]}) + example(**ROW)
    first, second = read(TABLE, content)
    assert first.inputs["age"].tolist() == [[36.5]]
    assert first.inputs["codes"].tolist() == [[1, 2, 3]]
    assert first.inputs["codes"].dtype == np.int32
    assert first.inputs["name"].tolist() == [b"Ada"]
    assert (first.k, first.min_score, first.truth) == (3, 0.25, (0, 2))
    assert (second.k, second.min_score, second.truth) == (None, None, None)
    assert second.title == "age=[36.5], codes=[1, 2, 3], name=Ada"
    assert second.source.endswith("samples.tfrecord, record 2")


@settings(max_examples=60)
@given(
    hnp.arrays(np.float32, (2, 3)),
    st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5),
    st.binary(max_size=9),
    st.sampled_from([example, lambda **row: classify(row)]),
)
def test_examples_become_the_arrays_they_were_made_of(tmp_path_factory, floats, tokens, text, written):
    inputs = {"floats": TensorInfo("float32", (-1, 2, 3)), **TOKENS, "text": TensorInfo("string", (-1,))}
    file = tmp_path_factory.mktemp("records") / "samples.tfrecord"
    # TensorFlow itself takes no feature without a kind, which is what an empty list of ours has.
    tokens = tokens or [0]
    file.write_bytes(written(floats=floats, tokens=tokens, text=text))
    (sample,) = read_samples([file], served(inputs))
    assert sample.inputs["floats"].tobytes() == floats.tobytes()
    assert sample.inputs["tokens"].tolist() == [tokens]
    assert sample.inputs["text"].tolist() == [text]


@settings(max_examples=60)
@given(
    st.integers(1, 4).flatmap(
        lambda count: st.tuples(
            hnp.arrays(np.float32, (count, 2)),
            hnp.arrays(object, (count,), elements=st.binary(max_size=9)),
            st.one_of(st.none(), st.integers(-5, 9), hnp.arrays(np.int32, (count,))),
        )
    )
)
def test_a_recorded_request_becomes_a_sample_for_each_example(tmp_path_factory, drawn):
    numbers, texts, k = drawn
    inputs = {"numbers": TensorInfo("float32", (-1, 2)), "texts": TensorInfo("string", (-1,))}
    asked = {} if k is None else {names.K: np.asarray(k, np.int32)}
    file = tmp_path_factory.mktemp("records") / "traffic"
    file.write_bytes(predict({"numbers": numbers, "texts": texts, **asked}, names.TOP_K))
    samples = read_samples([file], served(inputs))
    assert b"".join(sample.inputs["numbers"].tobytes() for sample in samples) == numbers.tobytes()
    assert [sample.inputs["texts"].tolist() for sample in samples] == [[text] for text in texts]
    expected = [None] * len(texts) if k is None else np.broadcast_to(k, len(texts)).tolist()
    assert [sample.k for sample in samples] == expected


def test_min_score_comes_as_it_was_sent(read):
    tokens = np.zeros((2, 3), np.int32)
    samples = read(TOKENS, predict({"tokens": tokens, names.MIN_SCORE: np.array([0.5, 0.75], np.float32)}))
    assert [sample.min_score for sample in samples] == [0.5, 0.75]


def test_images_in_requests_and_examples_are_decoded_and_kept(read):
    file = png(PIXELS)
    content = (
        predict(
            {names.ENCODED_IMAGES: np.array([file, file], object), names.K: np.int32(1)}, names.ENCODED_IMAGES_TOP_K
        )
        + classify({names.IMAGE_FEATURE: file, "k": 2})
        + example(**{names.IMAGE_FEATURE: file, "image/class/label": 1})
        + predict({"images": (PIXELS / 255).astype(np.float32)[np.newaxis]})
    )
    samples = read(IMAGES, content)
    assert [sample.k for sample in samples] == [1, 1, 2, None, None]
    assert [sample.file for sample in samples] == [file] * 4 + [None]
    assert samples[3].truth == (1,)
    for sample in samples:
        np.testing.assert_allclose(sample.inputs["images"][0], PIXELS / 255, rtol=1e-6)


def test_a_question_for_the_identity_is_no_sample(read):
    content = b"".join(log_record(PREDICT, identity_call(Target("model")).request))
    assert len(read(TOKENS, content + predict({"tokens": np.zeros((1, 3), np.int32)}))) == 1
    with pytest.raises(InputError, match=r"samples.tfrecord holds no samples"):
        read(TOKENS, content)


def other_log():
    log = PredictionLog()
    log.regress_log.request.model_spec.name = "model"
    return b"".join(framed(log.SerializeToString()))


TWO = predict({"tokens": np.zeros((1, 3), np.int32)}) * 2


@pytest.mark.parametrize(
    ("inputs", "content", "said"),
    [
        (TOKENS, b"", "samples.tfrecord is not a TFRecord file, or it is damaged at its start"),
        (TOKENS, TWO[:-1], "samples.tfrecord: record 2 is cut short"),
        (TOKENS, TWO[: len(TWO) // 2 + 5], "samples.tfrecord: record 2 is cut short"),
        (TOKENS, TWO[:-5] + b"\1" + TWO[-4:], "samples.tfrecord: record 2 is damaged: its checksum is wrong"),
        (TOKENS, TWO + b"\xff" * 12, "samples.tfrecord: record 3 is damaged: its length is wrong"),
        (
            TOKENS,
            b"".join(framed(b"text")),
            "record 1 is neither a tf.Example nor a recorded Predict or Classify request",
        ),
        (TOKENS, other_log(), "record 1 is neither a tf.Example nor a recorded Predict or Classify request"),
        (
            TOKENS,
            predict({"words": np.zeros((1, 3), np.int32)}),
            "record 1 has an input 'words', but the model's inputs are tokens",
        ),
        (
            TOKENS,
            predict({"tokens": np.zeros((2, 3), np.int32), "k": np.zeros(3, np.int32)}),
            r"record 1: k has shape \[3\]: pass one number, or one for each of the 2 examples",
        ),
        (
            TOKENS,
            predict({"tokens": np.zeros((2, 3, 1), np.int32)}),
            r"record 1, example 0: input tokens takes rows of shape",
        ),
        (
            TABLE,
            predict({"age": np.zeros((2, 1)), "name": np.zeros(1)}),
            "record 1: input name holds 1 examples, others 2",
        ),
        (
            TABLE,
            predict({"age": np.zeros((2, 1)), "k": np.array(["a"])}),
            "record 1: k is .*: it must be a whole number",
        ),
        (TABLE, example(age=1.0, name="a"), "record 1 has no input 'codes', which the model needs"),
        (
            TABLE,
            example(**{**ROW, "codes": [1, 2]}),
            r"record 1: feature codes takes rows of shape \[3\], and this one is of length 2",
        ),
        (
            {"table": TensorInfo("float32", (-1, -1, -1))},
            example(table=1.0),
            r"record 1: feature table takes rows of shape \[any, any\], and this one is of length 1",
        ),
        (TABLE, example(**{**ROW, "codes": "abc"}), "record 1: feature codes takes rows of shape"),
        (TABLE, example(**{**ROW, "name": 5}), "record 1: feature name takes strings, not 5"),
        (TABLE, example(**ROW, k=1.5), r"record 1: feature k is .*1.5.*, and must be a number of type int"),
        (TABLE, example(**ROW, k=[1, 2]), "record 1: feature k has 2 values, but needs one"),
        (
            TABLE,
            example(**ROW, **{"image/class/label": 3}),
            "image/class/label is .*3.*, and must be indices of labels from 0 to 2",
        ),
        (IMAGES, example(**{names.IMAGE_FEATURE: b"no image"}), "record 1 is not an image that can be read"),
        (
            TOKENS,
            predict({names.ENCODED_IMAGES: np.array([png(PIXELS)], object)}),
            "record 1 holds an image, and model model does not take images, but tokens",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_in_a_sentence_with_file_record_and_input(read, inputs, content, said):
    with pytest.raises(InputError, match=said) as caught:
        read(inputs, content)
    assert "\n" not in str(caught.value)


@settings(max_examples=100)
@given(st.integers(1, len(TWO) - 1), st.integers(1, 255), st.booleans())
def test_a_damaged_record_never_becomes_a_sample(tmp_path_factory, place, difference, cut):
    content = bytearray(TWO)
    content[place] ^= difference
    file = tmp_path_factory.mktemp("records") / "samples.tfrecord"
    file.write_bytes(TWO[:place] if cut else content)
    if cut and place == len(TWO) // 2:
        assert len(read_samples([file], served(TOKENS))) == 1
        return
    with pytest.raises(InputError, match=r"samples.tfrecord"):
        read_samples([file], served(TOKENS))
    with pytest.raises(InputError, match=r"samples.tfrecord"):
        list(recorded_requests(file))


CONTENTS = (
    predict_call(
        Target("m"),
        "s",
        {"floats": np.ones((2, 3), np.float32), "text": np.array([b"a", b"b"], object), "k": np.int32(1)},
    ),
    classify_call(Target("m"), "s", [{"floats": [1.0, 2.0, 3.0], "text": b"a", "k": 1}]),
)


@settings(max_examples=400)
@given(
    st.sampled_from(CONTENTS),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), min_size=1, max_size=3),
)
def test_whatever_a_record_holds_it_becomes_samples_or_is_refused(tmp_path_factory, call, as_example, changes):
    (payload,) = read_records(io.BytesIO(b"".join(log_record(call.method, call.request))))
    if as_example:
        payload = example_message({"floats": [1.0, 2.0, 3.0], "text": b"a"}).SerializeToString()
    payload = bytearray(payload)
    for place, difference in changes:
        payload[place % len(payload)] ^= difference
    file = tmp_path_factory.mktemp("records") / "samples.tfrecord"
    file.write_bytes(b"".join(framed(bytes(payload))))
    inputs = {"floats": TensorInfo("float32", (-1, 3)), "text": TensorInfo("string", (-1,))}
    samples = []
    with contextlib.suppress(InputError):
        samples = read_samples([file], served(inputs))
    assert all(sample.inputs["floats"].shape == (1, 3) for sample in samples)


def test_a_file_of_no_known_kind_is_refused_with_those_that_are(read):
    known = "a .npz file, JSON lines \\(.jsonl\\), a TFRecord file or a version's directory"
    with pytest.raises(InputError, match=f"notes.txt is not {known}, and model model does not take images, but tokens"):
        read(TOKENS, b"some notes", "notes.txt")
    with pytest.raises(InputError, match=r"notes.txt is not an image that can be read"):
        read(IMAGES, b"some notes", "notes.txt")


def test_a_version_is_read_as_its_golden_records(server, version):
    with ServingClient(server.address, "letters") as client:
        metadata = client.metadata()
    for path in (version, version / names.ASSETS_EXTRA / names.GOLDEN_FILE):
        samples = read_samples([path], metadata)
        assert len(samples) == 9
        assert all(sample.dense is not None and sample.k is None for sample in samples)
        assert samples[8].title.endswith("golden_predictions, record 9")


def test_images_and_folders_of_images(tmp_path):
    (tmp_path / "a.png").write_bytes(png(PIXELS))
    (tmp_path / "b.png").write_bytes(png(PIXELS[::-1]))
    (tmp_path / "notes.txt").write_text("left out")
    (tmp_path / "labels.json").write_text(json.dumps({"b.png": ["x", "y"]}))
    alone = read_samples([tmp_path / "b.png"], served(IMAGES), "unit")
    samples = read_samples([tmp_path], served(IMAGES), "unit")
    assert [sample.title for sample in (*alone, *samples)] == ["b.png", "a.png", "b.png"]
    assert [sample.truth for sample in samples] == [None, ("x", "y")]
    np.testing.assert_array_equal(alone[0].inputs["images"], samples[1].inputs["images"])
    (tmp_path / "labels.json").write_text(json.dumps({"c.png": []}))
    with pytest.raises(InputError, match=r"labels.json names 'c.png', but the folder has no image of that name"):
        read_samples([tmp_path], served(IMAGES), "unit")


def test_an_image_may_be_base64_in_json_lines(tmp_path):
    encoded = {"b64": base64.b64encode(png(PIXELS)).decode()}
    file = tmp_path / "images.jsonl"
    lines = [encoded, {"images": encoded}, {"encoded_images": encoded, "k": 1}]
    file.write_text("\n".join(map(json.dumps, lines)))
    samples = read_samples([file], served(IMAGES), "unit")
    assert [sample.file for sample in samples] == [png(PIXELS)] * 3
    assert samples[2].k == 1


def test_samples_become_a_request(read):
    metadata = served(IMAGES)
    file = png(PIXELS)
    samples = read(
        IMAGES,
        predict({names.ENCODED_IMAGES: np.array([file] * 2, object), "k": np.int32(1)})
        + example(**{names.IMAGE_FEATURE: file}),
    )
    sent = inputs_of(samples, metadata.signature(names.ENCODED_IMAGES))
    assert sent[names.ENCODED_IMAGES].tolist() == [file] * 3
    assert sent[names.K].tolist() == [1, 1, 2]
    assert inputs_of(samples, metadata.signature(names.SERVING_DEFAULT))["images"].shape == (3, 4, 4, 1)


def test_samples_of_several_lengths_are_not_sent_together(read):
    samples = read(
        TOKENS, predict({"tokens": np.zeros((1, 3), np.int32)}) + predict({"tokens": np.zeros((1, 4), np.int32)})
    )
    with pytest.raises(
        InputError, match=r"record 1 and .*record 2 differ in the shape of input tokens: send them one by one"
    ):
        inputs_of(samples, served(TOKENS).signature(names.SERVING_DEFAULT))
    with pytest.raises(InputError, match="signature encoded_images takes JPEG and PNG files"):
        inputs_of(samples, served(TOKENS).signature(names.ENCODED_IMAGES))


def test_truth_is_an_array_and_a_strange_label_is_named(read):
    samples = read(TABLE, example(**ROW, **{"image/class/label": [0, 2]}) + example(**ROW))
    truth, known = truth_of(samples, ["x", "y", "z"])
    assert truth.tolist() == [[True, False, True], [False] * 3]
    assert known.tolist() == [True, False]
    with pytest.raises(InputError, match="record 1 has the label 2, but the model has x, y"):
        truth_of(samples, ["x", "y"])


def test_what_tensorflow_writes_is_read(tmp_path):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow writes the file")
    file = tmp_path / "samples.tfrecord"
    feature = {"tokens": tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2, 3]))}
    with tf.io.TFRecordWriter(str(file)) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    assert read_samples([file], served(TOKENS))[0].inputs["tokens"].tolist() == [[1, 2, 3]]


def test_a_k_of_any_size_can_be_asked_for_and_a_min_score_must_be_a_number():
    signature = served(TOKENS | {names.MIN_SCORE: TensorInfo("float32", None)}).signature(names.SERVING_DEFAULT)
    inputs = {"tokens": np.zeros((1, 3), np.int32)}
    sent = inputs_of([Sample(inputs, k=k) for k in (2**40, None)], signature)
    np.testing.assert_array_equal(sent[names.K], np.int32([2**31 - 1, 2]), strict=True)
    with pytest.raises(InputError, match="must be a finite number"):
        inputs_of([Sample(inputs, min_score=1e39)], signature)
