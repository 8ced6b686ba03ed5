"""Calls over REST of a server that answers anything; tests/test_check_rest.py calls one that answers rightly."""

import json
import socket
import threading

import grpc
import numpy as np
import pytest

from client import DecodeError, InputError, ServerError, ServingClient, UnreachableError
from client.check.rest import check_rest
from client.rest.http import RestServer
from client.rest.json_forms import read_classes, read_outputs
from client.rpc.metadata import Target, TensorInfo


@pytest.fixture
def answering():
    """A function that starts a server which answers each request with some bytes, and returns its REST client."""
    sockets = []

    def start(content):
        listening = socket.create_server(("localhost", 0))
        sockets.append(listening)

        def answer():
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(content)

        threading.Thread(target=answer, daemon=True).start()
        return RestServer(f"localhost:{listening.getsockname()[1]}", 5)

    yield start
    for listening in sockets:
        listening.close()


def http(status, body):
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


def test_an_answer_is_json_and_anything_else_is_one_of_our_errors(answering):
    assert answering(http(200, b'{"a": NaN}')).get(Target("m"))["a"] != 0
    with pytest.raises(DecodeError, match="is not JSON"):
        answering(http(200, b"\xff")).get(Target("m"))
    with pytest.raises(DecodeError, match="is not JSON"):
        answering(http(200, b"[" * 100_000)).get(Target("m"))
    for content in (http(200, b"{}")[:-1], http(404, b"{}")[:-1], b"\0\0\x18\x04\0\0\0", b""):
        with pytest.raises(UnreachableError, match=r"does not answer over REST: .+"):
            answering(content).post(Target("m"), "predict", {})


@pytest.mark.parametrize(("status", "code"), [(400, grpc.StatusCode.INVALID_ARGUMENT), (302, grpc.StatusCode.UNKNOWN)])
def test_another_status_is_a_servers_error_with_what_it_said(answering, status, code):
    with pytest.raises(ServerError, match=f"answers {status} over REST: why") as caught:
        answering(http(status, b'{"error": "why"}')).get(Target("m"))
    assert caught.value.code == code


def test_the_grpc_port_is_told_from_a_rest_port(server):
    with pytest.raises(UnreachableError, match="does not answer over REST"):
        RestServer(server.address, 5).get(Target("letters"))


@pytest.mark.parametrize("address", ["localhost", "localhost:", ":8501", "http://localhost:8501"])
def test_an_address_is_host_and_port(address):
    with pytest.raises(InputError, match="is not HOST:PORT"):
        RestServer(address, 5)


def info(dtype):
    return {"x": TensorInfo(dtype, (-1, -1))}


@pytest.mark.parametrize(
    ("dtype", "rows", "expected"),
    [
        ("float32", [[0.1, float("nan")], [float("-inf"), 1]], np.float32([[0.1, np.nan], [-np.inf, 1]])),
        ("uint64", [[1, 2**64 - 1]], np.uint64([[1, 2**64 - 1]])),
        ("bool", [[True, False]], np.array([[True, False]])),
        ("int32", [[], []], np.zeros((2, 0), np.int32)),
        ("string", [["é", {"b64": "AAD/"}]], np.array([["é".encode(), b"\0\0\xff"]], object)),
    ],
)
def test_outputs_are_those_that_grpc_would_return(dtype, rows, expected):
    for answer in ({"predictions": rows}, {"outputs": rows}):
        np.testing.assert_array_equal(read_outputs(answer, info(dtype))["x"], expected, strict=True)


@pytest.mark.parametrize(
    ("dtype", "rows"),
    [
        ("int32", [[1.5]]),
        ("int32", [[2**40]]),
        ("float32", [["0.5"]]),
        ("float32", [[1e39]]),
        ("float32", [[1.0], [1.0, 2.0]]),
        ("string", [[1]]),
        ("string", [["a"], ["b", "c"]]),
        ("string", [[{"b64": 5}]]),
        ("string", [["\ud800"]]),
    ],
)
def test_outputs_of_another_type_are_not_converted(dtype, rows):
    with pytest.raises(DecodeError, match="does not hold the outputs x"):
        read_outputs({"predictions": rows}, info(dtype))


@pytest.mark.parametrize("answer", [[], {}, {"results": 1}, {"results": [[["a"]]]}, {"results": [[["a", "high"]]]}])
def test_classes_in_another_form_are_no_answer(answer):
    with pytest.raises(DecodeError, match="does not hold classes"):
        read_classes(answer)


@pytest.mark.parametrize("stated", [[], "a", 1, None, {"a": 1}, {"a": {"inputs": 1}}])
def test_signatures_in_another_form_are_a_fault(server, model, version, answering, stated):
    document = {"metadata": {"signature_def": {"signature_def": stated}}}
    rest = answering(http(200, json.dumps(document | {"model_version_status": [{"version": 1e999}]}).encode()))
    with ServingClient(server.address, "letters", timeout=5) as client:
        result = check_rest(client, rest, Target("letters"), client.check(version))
    assert (result.passed, result.rest.passed, result.head.passed) == (False, False, True)
    assert "does not hold a status" in result.rest.first_fault.message


def test_a_failed_check_keeps_its_verdict_where_rest_cannot_be_compared(server, model, version):
    right = model.declared()
    right.pop("export_info")
    model.declared = lambda: right
    target = Target("letters")
    with ServingClient(server.address, "letters", timeout=5) as client:
        over_grpc = client.check(version)
        result = check_rest(client, RestServer("localhost:1", 5), target, over_grpc)
    assert (result.passed, result.rest.passed, result.identity) == (False, False, over_grpc.identity)
    assert "REST could not be compared with gRPC: " in result.rest.first_fault.message
