"""The services around the answers: malformed bytes, limits, metadata, health, profiles, sockets, channel arguments."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

PREDICT = "/tensorflow.serving.PredictionService/Predict"
PROFILE = "/tensorflow.ProfilerService/Profile"
HEALTH = "/grpc.health.v1.Health/Check"


@pytest.fixture
def ask(running, client):
    return client(running)


def metadata_request(name="scaler", *fields):
    return get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": name}, metadata_field=fields)


def test_malformed_bytes_are_an_internal_error(ask):
    with pytest.raises(grpc.RpcError) as caught:
        ask.channel.unary_unary(PREDICT)(b"\xff\xff\xff", timeout=20)
    assert caught.value.code() is grpc.StatusCode.INTERNAL


def test_metadata_shows_the_signatures_with_their_defaults(ask):
    response = ask.prediction.GetModelMetadata(metadata_request("scaler", "signature_def"), timeout=20)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "classify", "__saved_model_init_op"} <= set(signatures.signature_def)
    assert signatures.signature_def["serving_default"].defaults["k"].int_val == [0]
    assert (response.model_spec.name, response.model_spec.version.value) == ("scaler", 1)


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (get_model_metadata_pb2.GetModelMetadataRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            metadata_request(),
            "INVALID_ARGUMENT",
            "GetModelMetadataRequest must specify at least one metadata_field",
        ),
        (metadata_request("scaler", "weights"), "INVALID_ARGUMENT", "Metadata field weights is not supported"),
        (metadata_request("other", "signature_def"), "NOT_FOUND", "Servable not found for request: Latest(other)"),
    ],
)
def test_a_wrong_metadata_request_gets_the_servers_words(ask, request_, code, message):
    with pytest.raises(grpc.RpcError) as caught:
        ask.prediction.GetModelMetadata(request_, timeout=20)
    assert (caught.value.code().name, caught.value.details()) == (code, message)


def test_long_messages_are_cut_as_the_server_cuts_them(ask):
    _, message = ask.error({"x": np.float32([1])}, "x" * 3000)
    assert message == 'Serving signature key "' + "x" * (1024 - 23) + "...TRUNCATED"


def test_health_is_served_only_with_its_flag(ask, serve, make_version, base, client):
    with pytest.raises(grpc.RpcError) as caught:
        ask.channel.unary_unary(HEALTH)(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    make_version(base / "1")
    healthy = client(serve(model_base_path=base, enable_grpc_healthcheck_service=True))
    assert healthy.channel.unary_unary(HEALTH)(b"", timeout=20) == b"\x08\x01"
    with pytest.raises(grpc.RpcError) as caught:
        healthy.channel.unary_unary(HEALTH)(b"\x0a\x01x", timeout=20)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_the_profiler_records_what_runs_meanwhile(ask, tmp_path):
    """As TensorBoard does it, and TensorFlow Serving's own tests."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ask.predict, {"steps": [200_000]}, "count", timeout=60)
        tf.profiler.experimental.client.trace(f"grpc://{ask.address}", str(tmp_path), 500, num_tracing_attempts=10)
        running.result()
    (trace,) = (tmp_path / "plugins" / "profile").glob("*/*.xplane.pb")
    assert trace.stat().st_size > 1000


def test_the_profiler_can_be_left_out(serve, make_version, base, client):
    make_version(base / "1")
    ask = client(serve(model_base_path=base, enable_profiler=False))
    with pytest.raises(grpc.RpcError) as caught:
        ask.channel.unary_unary(PROFILE)(b"", timeout=20)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_unix_socket_and_the_port_answer_alike(serve, make_version, base, client, tmp_path):
    make_version(base / "1", 3.0)
    path = tmp_path / "grpc.sock"
    address = serve(model_base_path=base, grpc_socket_path=path)
    for target in (address, f"unix:{path}"):
        assert client(target).scale(2) == [6]


def test_a_second_server_takes_a_unix_socket_over(serve, make_version, base, client, tmp_path):
    """TensorFlow Serving's own tests start all their servers with one path."""
    path = tmp_path / "grpc.sock"
    for number, factor in (("1", 3.0), ("2", 5.0)):
        make_version(base / number, factor)
        serve(model_base_path=base, grpc_socket_path=path)
    assert client(f"unix:{path}").scale(2) == [10]


def test_channel_arguments_reach_grpc(serve, make_version, base, client):
    make_version(base / "1", 3.0)
    arguments = "grpc.max_metadata_size=2000,grpc.absolute_max_metadata_size=2000,grpc.lb_policy_name=grpclb"
    ask = client(serve(model_base_path=base, grpc_channel_arguments=arguments))
    assert ask.scale(2) == [6]
    request = ask.request({"x": np.float32([2])}, "scale")
    with pytest.raises(grpc.RpcError, match="metadata") as caught:
        ask.prediction.Predict(request, timeout=20, metadata=[("long", "x" * 4000)])
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_messages_far_beyond_the_default_limit_of_grpc_go_in_and_come_out(ask):
    x = np.arange(5_000_000, dtype=np.float32)
    outputs, _ = ask.predict({"x": x}, "scale", timeout=120)
    np.testing.assert_array_equal(outputs["y"], x * 3)


def test_more_requests_than_threads_are_refused(serve, make_version, base, client):
    make_version(base / "1", 3.0)
    ask = client(serve(model_base_path=base, grpc_max_threads=4))
    ask.scale(1)
    slow = ask.request({"steps": [200_000]}, "count")
    futures = [ask.prediction.Predict.future(slow, timeout=60) for _ in range(12)]
    codes = [future.code() for future in futures]
    assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert ask.scale(1) == [3]


def test_a_graph_is_stopped_at_the_deadline_of_its_request(serve, make_version, base, client):
    make_version(base / "1", 3.0)
    ask = client(serve(model_base_path=base, grpc_max_threads=1))
    ask.predict({"steps": [1]}, "count")
    assert ask.error({"steps": [2**31 - 1]}, "count", timeout=1)[0] == "DEADLINE_EXCEEDED"
    # The one thread is free as soon as the graph stops.
    until, codes = time.monotonic() + 60, []
    while grpc.StatusCode.OK not in codes:
        assert time.monotonic() < until
        codes.append(ask.prediction.Predict.future(ask.request({"x": np.float32([2])}, "scale"), timeout=20).code())
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_requests_run_in_parallel(ask):
    ask.predict({"steps": [1]}, "count")
    slow = ask.prediction.Predict.future(ask.request({"steps": [200_000]}, "count"), timeout=60)
    time.sleep(0.1)
    answered = 0
    while not slow.done():
        assert ask.scale(2) == [6]
        answered += 1
    assert slow.result().outputs["steps"].int_val == [200_000]
    assert answered > 10
