"""A server with a REST port, and a plain HTTP client for it."""

import http.client
import json
import time
from typing import NamedTuple

import pytest


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Rest:
    """Requests to one server, each over a connection of its own."""

    def __init__(self, port: int):
        self.port = port

    def __call__(self, method, path, body=None, headers=()):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        connection = self.connect()
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            return Answer(response.status, response.getheader("Content-Type"), response.read())
        finally:
            connection.close()

    def connect(self):
        """A connection, waited for: the real server opens its REST port some time after its gRPC port."""
        until = time.monotonic() + 30
        while True:
            connection = http.client.HTTPConnection("localhost", self.port, timeout=60)
            try:
                connection.connect()
                return connection
            except ConnectionRefusedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)

    def predict(self, body, signature=None, path="/v1/models/scaler:predict"):
        named = {"signature_name": signature} if signature else {}
        return self("POST", path, {**named, **body} if isinstance(body, dict) else body)


@pytest.fixture
def port(free_port):
    """A port that is free."""
    return free_port()


@pytest.fixture
def connect_to():
    """The class Rest."""
    return Rest


@pytest.fixture
def serve_rest(serve, port):
    """A function that gives the gRPC address of a ready server with these flags, and a Rest."""

    def start(**flags):
        return serve(rest_api_port=port, **flags), Rest(port)

    return start


@pytest.fixture
def rest(running_both):
    """A Rest for the server that all tests only ask; its version 1 multiplies by 3."""
    return Rest(running_both[1])
