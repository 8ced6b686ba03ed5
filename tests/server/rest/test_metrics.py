"""The metrics page: names, labels and numbers as dashboards expect them of the real server."""

import re

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, prediction_log_pb2

from server.metrics import Counter, Metrics, Sampler
from server.tensors import encode

SERVING = ":tensorflow:serving:"
LOADING = ":tensorflow:cc:saved_model:"
LINE = re.compile(r'([^{ ]+)\{((?:[a-zA-Z_]+="(?:[^"\\]|\\.)*",?)*)\} (\S+)')
LABEL = re.compile(r'([a-zA-Z_]+)="((?:[^"\\]|\\.)*)"')


@pytest.fixture
def monitoring(tmp_path):
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: true, path: "/monitoring/prometheus/metrics" }')
    return file


def page(rest):
    """The values on the page, by name and labels."""
    found = rest("GET", "/monitoring/prometheus/metrics")
    assert (found.status, found.content_type) == (200, "text/plain")
    values = {}
    for line in found.body.decode().splitlines():
        if not line.startswith("# TYPE "):
            name, labels, value = LINE.fullmatch(line).groups()
            values[name, frozenset(LABEL.findall(labels))] = float(value)
    return values


def value(values, name, **labels):
    return values.get((name, frozenset(labels.items())), 0)


def histogram(values, name, **labels):
    """The number of samples, which must be the last bucket's too."""
    count = value(values, f"{name}_count", **labels)
    assert value(values, f"{name}_bucket", **labels, le="+Inf") == count
    return count


@pytest.fixture
def served(serve_rest, make_version, base, monitoring):
    """A gRPC address and a Rest of a server with version 1, which was warmed up."""

    def add_record(staging):
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.model_spec.signature_name = "scale"
        log.predict_log.request.inputs["x"].CopyFrom(encode(np.float32([1])))
        (staging / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(staging / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            writer.write(log.SerializeToString())

    make_version(base / "1", 3.0, change=add_record)
    return serve_rest(model_base_path=base, monitoring_config_file=monitoring)


def test_requests_are_counted_by_model_and_status_over_both_ways(served, client):
    address, rest = served
    ask = client(address)
    before = page(rest)
    for _ in range(3):
        ask.scale(1)
    ask.error({"x": np.float32([1])}, "nosuch")
    ask.error({"x": np.float32([1])}, "scale", name="other")
    rest.predict({"instances": [1]}, "scale")
    rest.predict({"instances": ["a"]}, "scale")
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "scaler", "classify"
    request.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    ask.prediction.Classify(request, timeout=20)
    after = page(rest)

    def grown(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)

    requests, latency = f"{SERVING}request_count", f"{SERVING}request_latency_count"
    assert grown(requests, model_name="scaler", status="OK") == 5
    assert grown(requests, model_name="scaler", status="FAILED_PRECONDITION") == 1
    assert grown(requests, model_name="scaler", status="INVALID_ARGUMENT") == 1
    assert grown(requests, model_name="other", status="NOT_FOUND") == 1
    assert grown(latency, model_name="scaler", API="Predict", entrypoint="GRPC") == 3
    assert grown(latency, model_name="scaler", API="Classify", entrypoint="GRPC") == 1
    assert grown(latency, model_name="scaler", API="predict", entrypoint="REST") == 1
    assert grown(f"{SERVING}runtime_latency_count", model_name="scaler", API="Predict", runtime="TF1") == 4
    assert histogram(after, f"{SERVING}request_latency", model_name="scaler", API="Predict", entrypoint="GRPC") == 3
    assert grown(f"{SERVING}request_latency_sum", model_name="scaler", API="Predict", entrypoint="GRPC") > 0


def test_loads_are_counted_by_path(served, client, make_version, base):
    address, rest = served
    ask = client(address)
    make_version(base / "2", without="variables")
    ask.wait_for({1: "END", 2: "AVAILABLE"})
    make_version(base / "3", without="saved_model.pb")
    ask.wait_for({1: "END", 2: "AVAILABLE", 3: "LOADING"})
    values = page(rest)
    attempts = f"{LOADING}load_attempt_count"
    assert value(values, attempts, model_path=str(base / "1"), status="success") == 1
    assert value(values, attempts, model_path=str(base / "2"), status="success") == 1
    assert value(values, attempts, model_path=str(base / "3"), status="success") == 0
    assert value(values, f"{LOADING}load_latency", model_path=str(base / "1")) > 0
    assert histogram(values, f"{SERVING}model_warmup_latency", model_path=str(base / "1"), status="OK") == 1
    assert histogram(values, f"{SERVING}model_warmup_latency", model_path=str(base / "2"), status="OK") == 0


def test_a_failed_load_is_counted(serve_rest, make_version, base, monitoring, client):
    make_version(base / "1")
    address, rest = serve_rest(model_base_path=base, monitoring_config_file=monitoring, max_num_load_retries=0)
    make_version(base / "2", without="saved_model.pb")
    client(address).wait_for({1: "AVAILABLE", 2: "END"})
    found = value(page(rest), f"{LOADING}load_attempt_count", model_path=str(base / "2"), status="fail")
    assert found == 1


def test_server_batching_is_counted(serve_rest, make_version, base, tmp_path, monitoring):
    make_version(base / "1", 3.0)
    batching = tmp_path / "batching.config"
    batching.write_text(
        "max_batch_size { value: 8 } batch_timeout_micros { value: 0 } thread_pool_name { value: 'threads' } "
        "allowed_batch_sizes: 4 allowed_batch_sizes: 8"
    )
    flags = {"enable_batching": True, "batching_parameters_file": batching}
    _, rest = serve_rest(model_base_path=base, monitoring_config_file=monitoring, **flags)
    assert rest.predict({"instances": [1, 2, 3]}, "scale").status == 200
    values = page(rest)
    name = f"{SERVING}batching_session:"
    assert histogram(values, f"{name}queuing_latency", thread_pool_name="threads") == 1
    assert value(values, f"{name}input_batch_size_sum") == 3
    assert value(values, f"{name}processed_batch_size_sum") == 4
    assert value(values, f"{name}padding_size_sum", execution_batch_size="4") == 1


def test_every_metric_is_announced_though_nothing_was_counted():
    lines = Metrics().page().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert "# TYPE :tensorflow:serving:request_latency histogram" in lines
    assert "# TYPE :tensorflow:cc:saved_model:load_attempt_count counter" in lines
    assert lines == sorted(lines)


def test_a_histogram_has_the_servers_buckets():
    sampler = Sampler("/a", "b", scale=10, growth=1.8, buckets=33)
    for sample in (1, 10, 17.9, 18, 1e12):
        sampler.add(sample, "c")
    lines = list(sampler.lines(":a"))
    assert lines[:4] == [
        ':a_bucket{b="c",le="10"} 1',
        ':a_bucket{b="c",le="18"} 3',
        ':a_bucket{b="c",le="32.4"} 4',
        ':a_bucket{b="c",le="58.32"} 4',
    ]
    assert lines[-4:] == [
        ':a_bucket{b="c",le="1.47476e+09"} 4',
        ':a_bucket{b="c",le="+Inf"} 5',
        ':a_sum{b="c"} 1e+12',
        ':a_count{b="c"} 5',
    ]


def test_label_values_are_escaped():
    counter = Counter("/a", "b")
    counter.add(2, 'x"y\\z\n')
    assert list(counter.lines(":a")) == [':a{b="x\\"y\\\\z\\n"} 2']


def test_the_path_of_the_page_has_no_query(served):
    _, rest = served
    found = rest("GET", "/monitoring/prometheus/metrics?x")
    assert (found.status, found.content_type) == (400, "text/plain")
    assert found.body == (
        b"Unexpected path: /monitoring/prometheus/metrics?x. Should be /monitoring/prometheus/metrics"
    )
