"""REST requests that no client should send: the server answers each with a status, and goes on answering."""

import json
import math
import random
import socket

SEED = 20
REQUESTS = 1500
# What the real server may answer with: its own checks, the graph's, and libevent's.
POSSIBLE = {200, 400, 404, 501}
PATHS = [
    "/v1/models/scaler:predict",
    "/v1/models/scaler/versions/1:predict",
    "/v1/models/scaler:classify",
    "/v1/models/scaler:regress",
]
GOOD = [
    {"signature_name": "scale", "instances": [1.5, 2, {"x": 3}["x"]]},
    {"signature_name": "scale", "inputs": [[1.0, 2.0], [3.0, 4.0]]},
    {"instances": [{"x": 1.0, "k": 2}, {"x": 2.0, "k": 3}]},
    {"signature_name": "look_up", "instances": ["one", {"b64": "dHdv"}]},
    {"signature_name": "classify", "context": {"x": 2.0}, "examples": [{}, {"x": [1.0]}]},
    {"signature_name": "regress", "examples": [{"x": 1.0}, {"y": [True, 1]}]},
]
LEAVES = [
    *(0, -1, 1, 2.5, 1e38, 1e39, 1e308, -1e-320, 1 << 24, 1 << 31, 1 << 63, 1 << 64, 10**40),
    *(math.nan, math.inf, True, None, "", "a", "\0", "\ud800", "ü" * 300, [], {}, [[]], {"b64": 1}, {"b64": "*"}),
]


def replaced(chance, value, depth=0):
    """The value with some part of it replaced by a leaf, dropped, doubled or wrapped."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice(list(value))
        return {**value, name: replaced(chance, value[name], depth + 1)}
    if isinstance(value, list) and value and chance.random() < 0.8:
        at = chance.randrange(len(value))
        return [*value[:at], replaced(chance, value[at], depth + 1), *value[at + 1 :]]
    kind = chance.randrange(5)
    if kind == 0:
        return [value] * chance.choice((0, 1, 2, 100))
    if kind == 1:
        return {chance.choice(("x", "k", "words", "b64", "inputs", "")): value}
    if kind == 2 and depth < 40:
        return replaced(chance, [value], depth + 20)
    return chance.choice(LEAVES)


def body(chance):
    document = chance.choice(GOOD)
    for _ in range(chance.choice((1, 1, 2, 4))):
        document = replaced(chance, document)
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace")
    kind = chance.randrange(10)
    if kind < 6 or not text:
        return text
    at = chance.randrange(len(text))
    if kind == 6:
        return text[:at]
    if kind == 7:
        return text[:at] + chance.randbytes(chance.randrange(1, 9)) + text[at:]
    if kind == 8:
        return text[:at] + chance.choice((b"[", b"{", b'"', b"\\u", b"Inf", b"1e", b",")) * 9 + text[at:]
    return chance.randbytes(chance.choice((1, 100, 5000)))


def test_malformed_requests_are_errors_and_the_server_lives(rest):
    chance = random.Random(SEED)
    seen = set()
    connection = rest.connect()
    for number in range(REQUESTS):
        sent = body(chance)
        connection.request("POST", chance.choice(PATHS), sent)
        response = connection.getresponse()
        answer = response.read()
        seen.add(response.status)
        assert response.status in POSSIBLE, f"request {number}: {response.status} {answer!r} for {sent[:300]!r}"
        assert b"stand-in server failed" not in answer, f"request {number}: {answer!r} for {sent[:300]!r}"
        found = json.loads(answer.decode("utf-8", "replace"))
        assert response.status == 200 or list(found) == ["error"], found
    connection.close()
    assert {200, 400} <= seen
    assert rest.predict({"instances": [2]}, "scale").json == {"predictions": [6.0]}


def test_malformed_paths_and_headers_are_answered(rest):
    chance = random.Random(SEED)
    alphabet = '/:?#%.=&v1models scaler\u00fcpredict\\"<>{}|^`\t;@'
    for _ in range(300):
        path = "/v1/models/" + "".join(chance.choices(alphabet, k=chance.randrange(1, 40)))
        head = f"{chance.choice(('GET', 'POST', 'PUT', 'X'))} {path} HTTP/1.{chance.randrange(3)}\r\n"
        header = chance.choice(
            ("", "Content-Length: 3\r\n", "Content-Length: x\r\n", "A\0: b\r\n", ": \r\n", "x" * 9000)
        )
        with socket.create_connection(("localhost", rest.port), timeout=30) as connection:
            connection.sendall(f"{head}Host: a\r\nConnection: close\r\n{header}\r\n".encode("latin-1", "replace"))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert rest.predict({"instances": [2]}, "scale").json == {"predictions": [6.0]}
