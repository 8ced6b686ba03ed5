"""Golden and warm-up records: what a server and a client will read."""

import hashlib

import numpy as np
import pytest
import tensorflow as tf

from exporter import Samples
from exporter.writing.prediction_logs import golden_records, read_requests, warmup_records, write_records
from signatures.contract import names
from signatures.contract.questions import ExportedLimits

FEATURES = np.arange(12, dtype=np.float32).reshape(3, 4)
DENSE = np.linspace(0, 1, 15, dtype=np.float32).reshape(3, 5)
KEYS = ["serving_default", "top_k", "fixed_k", "classify", "export_info"]


LIMITS = ExportedLimits(k=2, min_score=0.25)


@pytest.fixture
def samples():
    return Samples({"features": FEATURES})


def test_a_golden_record_asks_for_everything_and_holds_the_dense_answer(samples):
    for row, log in enumerate(golden_records("toy", samples, DENSE, 8)):
        asked, answered = log.predict_log.request, log.predict_log.response
        assert (asked.model_spec.name, asked.model_spec.signature_name) == ("toy", "serving_default")
        np.testing.assert_array_equal(tf.make_ndarray(asked.inputs["features"]), FEATURES[row : row + 1])
        np.testing.assert_array_equal(tf.make_ndarray(asked.inputs["k"]), [5])
        np.testing.assert_array_equal(tf.make_ndarray(asked.inputs["min_score"]), np.zeros(1, np.float32))
        np.testing.assert_array_equal(tf.make_ndarray(answered.outputs["probabilities"]), DENSE[row : row + 1])
    assert row == 2


def test_golden_records_stop_before_they_get_too_large_and_there_is_always_one(samples):
    size = next(golden_records("toy", samples, DENSE, 8)).ByteSize()
    assert len(list(golden_records("toy", samples, DENSE, 2.5 * size / 1e6))) == 2
    assert len(list(golden_records("toy", samples, DENSE, 1e-9))) == 1


def test_every_signature_is_warmed_up_with_one_and_one_signature_with_each_size(samples, tmp_path):
    write_records(tmp_path / "warmup", warmup_records("toy", KEYS, [samples], LIMITS, (1, 2, 4)))
    requests = list(read_requests(tmp_path / "warmup"))

    asked = [(key, len(next(iter(inputs.values())))) for key, inputs in requests]
    assert asked == [*((key, 1) for key in KEYS), ("serving_default", 2), ("serving_default", 4)]
    for key, inputs in requests:
        assert (names.K in inputs) == (names.MIN_SCORE in inputs) == (key in ("serving_default", "top_k"))
    # The server's own batching merges along the first dimension of every input.
    assert all(len({array.shape[0] for array in inputs.values()}) == 1 for _, inputs in requests)


def test_pictures_are_warmed_up_as_files_which_take_less_room():
    samples = Samples({"images": np.zeros((1, 8, 8, 1), np.float32)}, [b"a file"])
    logs = list(warmup_records("toy", ["serving_default", "encoded_images"], [samples], LIMITS, (1, 2)))
    assert logs[-1].predict_log.request.model_spec.signature_name == "encoded_images"
    assert list(tf.make_ndarray(logs[-1].predict_log.request.inputs["encoded_images"])) == [b"a file"] * 2


def test_the_same_records_are_the_same_file_and_the_digest_is_its_sha256(samples, tmp_path):
    digests = {write_records(tmp_path / name, golden_records("toy", samples, DENSE, 8)) for name in "ab"}
    assert digests == {hashlib.sha256((tmp_path / "a").read_bytes()).hexdigest()}
