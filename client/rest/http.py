"""Calls of the REST API."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

import grpc

from client.errors import DecodeError, InputError, ServerError, UnreachableError
from client.rpc.metadata import Target

METRICS_PATH = "/monitoring/prometheus/metrics"

# HTTP's counterpart of a gRPC code, as the server maps them.
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RestServer:
    """A model server's REST port.

    Args:
        address: HOST:PORT.
        timeout: how many seconds each call may take.

    Raises:
        InputError: if the address has no port.
    """

    def __init__(self, address: str, timeout: float) -> None:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise InputError(f"the REST address {address!r} has no port: write HOST:PORT, as in localhost:8501")
        self.address = address
        self._timeout = timeout
        # A proxy of the environment is for the internet, not for a model server.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, target: Target, what: str = "") -> Any:
        """Return what the server says of a model: its status, or its "/metadata"."""
        return self._answer(urllib.request.Request(self._url(target, what)))

    def post(self, target: Target, verb: str, body: Mapping[str, Any]) -> Any:
        """Send a request to "predict" or "classify", and return the answer.

        Raises:
            ServerError: what the server answered instead.
            UnreachableError: if there is no answer in time.
            DecodeError: if the answer is not JSON.
        """
        headers = {"Content-Type": "application/json"}
        return self._answer(urllib.request.Request(self._url(target, f":{verb}"), json.dumps(body).encode(), headers))

    def metrics(self) -> str:
        """Return the page of the server's metrics, at the path that servers have unless their configuration differs.

        Raises:
            ServerError: if there is no such page.
            UnreachableError: if there is no answer in time.
        """
        request = urllib.request.Request(f"http://{self.address}{METRICS_PATH}")
        return self._content(request).decode(errors="replace")

    def _url(self, target: Target, what: str) -> str:
        return f"http://{self.address}{path(target, what)}"

    def _answer(self, request: urllib.request.Request) -> Any:
        return _parsed(self._content(request))

    def _content(self, request: urllib.request.Request) -> bytes:
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            content = error.read()
            said = _error_of(content)
            code = _CODES.get(error.code, grpc.StatusCode.UNKNOWN)
            raise ServerError(f"{self.address} answers {error.code} over REST: {said}", code) from error
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise UnreachableError(
                f"{self.address} does not answer over REST: {reason}", grpc.StatusCode.UNAVAILABLE
            ) from error


def path(target: Target, what: str = "") -> str:
    """Return the path of a model or of one of its versions, and a verb or a page of it.

    Example:
        >>> path(Target("digits", 3), ":predict")
        '/v1/models/digits/versions/3:predict'
    """
    found = f"/v1/models/{urllib.parse.quote(target.model, safe='')}"
    if target.version is not None:
        found += f"/versions/{target.version}"
    if target.label is not None:
        found += f"/labels/{urllib.parse.quote(target.label, safe='')}"
    return found + what


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise DecodeError(f"a REST answer is not JSON: {error}") from error


def _error_of(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="backslashreplace")[:200]
