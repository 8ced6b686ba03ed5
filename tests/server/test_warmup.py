"""Warm-up records: replayed before a version serves, and what they may break."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from server.caller import Caller
from server.errors import ServingError
from server.inference.servable import Servable
from server.loader import load
from server.metrics import Metrics
from server.models.warmup import warm_up
from server.tensors import encode


def predict_log(signature="scale", **inputs):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = signature
    for key, value in inputs.items():
        log.predict_log.request.inputs[key].CopyFrom(encode(value))
    return log


def classify_log():
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.signature_name = "classify"
    return with_example(log, log.classify_log.request)


def regress_log(signature="regress"):
    log = prediction_log_pb2.PredictionLog()
    log.regress_log.request.model_spec.signature_name = signature
    return with_example(log, log.regress_log.request)


def multi_inference_log():
    log = prediction_log_pb2.PredictionLog()
    task = log.multi_inference_log.request.tasks.add(method_name="tensorflow/serving/regress")
    task.model_spec.name, task.model_spec.signature_name = "scaler", "regress"
    return with_example(log, log.multi_inference_log.request)


def with_example(log, request):
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(1.0)
    return log


@pytest.fixture
def version(make_version, tmp_path):
    make_version(tmp_path / "1", 2.0)
    (tmp_path / "1" / "assets.extra").mkdir()
    return tmp_path / "1"


@pytest.fixture
def servable(version):
    made = Servable(load(version, xla_enabled=False), None, Metrics(), as_content=False)
    yield made
    made.close()


def write(version, *records):
    with tf.io.TFRecordWriter(str(version / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())


def test_records_run_through_their_signatures(version, servable, monkeypatch):
    warm_up(servable, version, Caller())  # There is no file yet.
    write(
        version,
        predict_log(x=np.float32([1, 2])),
        classify_log(),
        regress_log(),
        multi_inference_log(),
        prediction_log_pb2.PredictionLog(),
    )
    right, fed = servable.run, []

    def run(call, feeds, fetches):
        (values,) = feeds.values()
        fed.append(values.shape)
        return right(call, feeds, fetches)

    monkeypatch.setattr(servable, "run", run)
    warm_up(servable, version, Caller())
    assert fed == [(2,), (1,), (1,), (1,)]


@pytest.mark.parametrize(
    ("records", "code", "message"),
    [
        ([predict_log("nosuch")], "FAILED_PRECONDITION", 'Serving signature key "nosuch" not found.'),
        ([predict_log()], "INVALID_ARGUMENT", "input size does not match signature"),
        ([regress_log("classify")], "INVALID_ARGUMENT", "Expected one output Tensor."),
        ([b"\xff\xff"], "INVALID_ARGUMENT", "Failed to parse warmup record"),
        ([classify_log()] * 1001, "INVALID_ARGUMENT", r"exceeds the maximum \(1000\)"),
    ],
)
def test_a_record_that_fails_is_an_error(version, servable, records, code, message):
    write(version, *records)
    with pytest.raises(ServingError, match=message) as caught:
        warm_up(servable, version, Caller())
    assert caught.value.code.name == code


def test_kinds_that_cannot_warm_up_are_named(version, servable):
    log = prediction_log_pb2.PredictionLog()
    log.session_run_log.SetInParent()
    write(version, log)
    with pytest.raises(ServingError, match="Unsupported log_type for warmup: 5"):
        warm_up(servable, version, Caller())


def test_a_file_that_is_not_a_tfrecord_is_data_loss(version, servable):
    (version / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"not a record file at all, but long enough")
    with pytest.raises(ServingError, match="Please verify your warmup data is in TFRecord format") as caught:
        warm_up(servable, version, Caller())
    assert caught.value.code.name == "DATA_LOSS"


def test_a_server_that_stops_does_not_replay_the_rest(version, servable):
    write(version, classify_log())
    with pytest.raises(ServingError) as caught:
        warm_up(servable, version, Caller(lambda: False))
    assert caught.value.code.name == "CANCELLED"


def test_the_flag_turns_it_off(serve, version, client):
    write(version, predict_log("nosuch"))
    ask = client(serve(model_base_path=version.parent, enable_model_warmup=False))
    assert ask.scale(1) == [2]
