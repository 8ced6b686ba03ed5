"""HTTP itself: bodies of wrong lengths, compressed or in chunks, many connections, deadlines, the end of a server."""

import errno
import gzip
import http.client
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from server import ModelServer, Settings

BODY = b'{"signature_name": "scale", "instances": [1, 2]}'
ANSWER = {"predictions": [3.0, 6.0]}
PREDICT = "/v1/models/scaler:predict"


def raw(rest, request, *, half_close=True):
    """Everything that the server says to these bytes."""
    with socket.create_connection(("localhost", rest.port), timeout=30) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def head(length):
    return f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def test_a_compressed_body_is_read(rest):
    found = rest("POST", PREDICT, gzip.compress(BODY), {"Content-Encoding": "gzip"})
    assert (found.status, found.json) == (200, ANSWER)


@pytest.mark.parametrize(
    "body", [b"no gzip", gzip.compress(BODY)[:-9], b"\x1f\x8b"], ids=["no gzip", "cut off", "its first bytes"]
)
def test_a_body_that_cannot_be_unpacked_is_empty(rest, body):
    found = rest("POST", PREDICT, body, {"Content-Encoding": "gzip"})
    assert (found.status, found.json) == (400, {"error": "JSON Parse error: The document is empty"})


def test_a_body_that_unpacks_to_gigabytes_is_empty(rest):
    bomb = gzip.compress(b" " * (150 << 20), compresslevel=1)
    found = rest("POST", PREDICT, bomb, {"Content-Encoding": "gzip"})
    assert (found.status, found.json) == (400, {"error": "JSON Parse error: The document is empty"})


def test_a_body_in_chunks_is_read(rest):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:])) + b"0\r\n\r\n"
    answer = raw(rest, head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked") + chunks)
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == ANSWER


def test_a_body_that_is_longer_than_it_says_is_cut_there(rest):
    answer = raw(rest, head(len(BODY)) + BODY + b"more")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    answer = raw(rest, head(len(BODY) - 1) + BODY)
    assert b"JSON Parse error: " in answer


def test_a_body_that_is_shorter_than_it_says_gets_no_answer_and_holds_nobody_up(rest):
    with socket.create_connection(("localhost", rest.port)) as short:
        short.sendall(head(1000) + BODY)
        assert rest("POST", PREDICT, BODY).json == ANSWER
        short.shutdown(socket.SHUT_WR)
        assert short.recv(100) == b""


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "99999999999999999999999", ""])
def test_a_malformed_length_is_refused(rest, length):
    answer = raw(rest, head(length) + BODY)
    assert answer.split(b" ")[1] in (b"400", b"413", b"411")
    assert rest("POST", PREDICT, BODY).json == ANSWER


@pytest.mark.parametrize(
    "request_", [b"\r\n\r\n", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00", b"\0" * 1000, b"GET / HTTP/9\r\n\r\n"]
)
def test_bytes_that_are_not_http_do_no_harm(rest, request_):
    raw(rest, request_)
    assert rest("POST", PREDICT, BODY).json == ANSWER


def test_a_connection_is_kept_for_further_requests(rest):
    connection = rest.connect()
    for _ in range(3):
        connection.request("POST", PREDICT, BODY)
        assert json.loads(connection.getresponse().read()) == ANSWER
    connection.close()


def test_ipv4_and_ipv6_are_answered(rest):
    hosts = ["127.0.0.1"]
    with socket.socket(socket.AF_INET6) as probe:
        if probe.connect_ex(("::1", rest.port)) == 0:
            hosts.append("::1")
    for host in hosts:
        connection = http.client.HTTPConnection(host, rest.port, timeout=30)
        connection.request("GET", "/v1/models/scaler")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_large_request_and_its_answer(rest):
    numbers = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    found = rest.predict({"instances": numbers.tolist()}, "scale").json["predictions"]
    np.testing.assert_array_equal(np.array(found, np.float32), numbers * np.float32(3))


def test_idle_connections_leave_room_for_others(rest):
    idle = [socket.create_connection(("localhost", rest.port)) for _ in range(200)]
    try:
        for connection in idle[::2]:
            connection.sendall(b"POST /v1/models/scaler:predict HTTP/1.1\r\n")
        assert rest("POST", PREDICT, BODY).json == ANSWER
    finally:
        for connection in idle:
            connection.close()


def test_rest_and_grpc_at_once_get_their_own_answers(running_both, rest, client):
    ask = client(running_both[0])

    def over_grpc(number):
        return ask.scale(number)[0]

    def over_rest(number):
        return rest.predict({"instances": [number]}, "scale").json["predictions"][0]

    with ThreadPoolExecutor(16) as pool:
        answers = [pool.submit((over_grpc, over_rest)[number % 2], number) for number in range(400)]
        assert [answer.result() for answer in answers] == [3.0 * number for number in range(400)]


def test_a_request_past_its_time_is_a_504_and_the_server_lives(serve_rest, make_version, base):
    make_version(base / "1", 3.0)
    _, rest = serve_rest(model_base_path=base, rest_api_timeout_in_ms=1000)
    assert rest.predict({"inputs": [1]}, "count").status == 200
    found = rest.predict({"inputs": [1_500_000]}, "count")
    assert (found.status, found.json) == (504, {"error": "Timed out waiting for notification"})
    assert rest("POST", PREDICT, BODY).json == ANSWER


def test_without_a_timeout_a_request_may_take_its_time(serve_rest, make_version, base):
    make_version(base / "1", 3.0)
    _, rest = serve_rest(model_base_path=base, rest_api_timeout_in_ms=0)
    assert rest.predict({"inputs": [400_000]}, "count").json == {"outputs": [400_000]}


def test_more_requests_than_threads_wait(serve_rest, make_version, base):
    make_version(base / "1", 3.0)
    _, rest = serve_rest(model_base_path=base, rest_api_num_threads=1)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(rest, "POST", PREDICT, BODY) for _ in range(20)]
        assert [answer.result().json for answer in answers] == [ANSWER] * 20


def test_a_stop_answers_what_is_in_flight_and_closes_the_port(stand_in_only, make_version, base, port, connect_to):
    make_version(base / "1", 3.0)
    server = ModelServer(Settings(model_name="scaler", model_base_path=base, rest_api_port=port))
    server.start()
    rest = connect_to(port)
    idle = rest.connect()
    assert rest.predict({"inputs": [1]}, "count").status == 200
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(rest.predict, {"inputs": [600_000]}, "count")
        time.sleep(0.5)
        assert not slow.done()
        server.stop()
        assert slow.result().json == {"outputs": [600_000]}
    idle.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("localhost", port)) == errno.ECONNREFUSED


def test_a_stopped_server_leaves_no_thread_behind(stand_in_only, make_version, base, port, connect_to, client):
    make_version(base / "1", 3.0)
    others = set(threading.enumerate())
    settings = Settings(model_name="scaler", model_base_path=base, rest_api_port=port, enable_batching=True)
    with ModelServer(settings) as server:
        assert client(f"localhost:{server.port}").scale(2) == [6]
        assert connect_to(port)("POST", PREDICT, BODY).json == ANSWER
        ours = {thread for thread in set(threading.enumerate()) - others if "channel" not in thread.name}
        assert {re.split("[-_]", thread.name)[0] for thread in ours} >= {"batch", "grpc", "http", "poll", "versions"}
    for thread in ours:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in ours)


def test_one_port_for_both_is_grpc_alone(stand_in_only, make_version, base, client, capfd, port):
    make_version(base / "1", 3.0)
    with ModelServer(Settings(model_name="scaler", model_base_path=base, port=port, rest_api_port=port)) as server:
        assert server.rest_port == 0
        assert client(f"localhost:{server.port}").scale(2) == [6]
    assert "http_port cannot be same as grpc_port" in capfd.readouterr().err
