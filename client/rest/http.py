"""Calls of the REST API."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import grpc

from client.errors import DecodeError, InputError, ServerError, UnreachableError
from client.rpc.metadata import Target

METRICS_PATH = "/monitoring/prometheus/metrics"

# The gRPC code of each HTTP status, as the server maps them.
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
        InputError: if the address has another form.
    """

    def __init__(self, address: str, timeout: float) -> None:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isdecimal()) or "/" in host:
            raise InputError(f"the REST address {address!r} is not HOST:PORT, as in localhost:8501")
        self.address = address
        self._timeout = timeout

    def get(self, target: Target, what: str = "") -> Any:
        """Return the status of a model, or its "/metadata"; see `post` for the errors."""
        return _parsed(self._send("GET", path(target, what)))

    def post(self, target: Target, verb: str, body: Mapping[str, Any]) -> Any:
        """Send a request to "predict" or "classify", and return the answer.

        Raises:
            ServerError: if the server answers with an error.
            UnreachableError: if there is no answer in time.
            DecodeError: if the answer is not JSON.
        """
        return _parsed(self._send("POST", path(target, f":{verb}"), json.dumps(body).encode()))

    def metrics(self) -> str:
        """Return the server's metrics page, from the default path.

        Raises:
            ServerError: if there is no such page.
            UnreachableError: if there is no answer in time.
        """
        return self._send("GET", METRICS_PATH).decode(errors="replace")

    def _send(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            # This ignores the proxy of the environment, which is for the internet.
            connection = http.client.HTTPConnection(self.address, timeout=self._timeout)
            try:
                connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
                response = connection.getresponse()
                content = response.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = "it does not speak HTTP/1, as a gRPC port does not" if _is_no_http(error) else str(error)
            message = f"{self.address} does not answer over REST: {reason}"
            raise UnreachableError(message, grpc.StatusCode.UNAVAILABLE) from error
        if response.status != http.client.OK:
            code = _CODES.get(response.status, grpc.StatusCode.UNKNOWN)
            raise ServerError(f"{self.address} answers {response.status} over REST: {_error_of(content)}", code)
        return content


def path(target: Target, what: str = "") -> str:
    """Return the path of a model or of one of its versions, followed by a verb or a page.

    Example:
        >>> path(Target("digits", 3), ":predict")
        '/v1/models/digits/versions/3:predict'
    """
    found = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        found += f"/versions/{target.version}"
    if target.label is not None:
        found += f"/labels/{quote(target.label, safe='')}"
    return found + what


def _is_no_http(error: Exception) -> bool:
    return isinstance(error, http.client.BadStatusLine) and not isinstance(error, http.client.RemoteDisconnected)


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"a REST answer is not JSON: {error}") from error


def _error_of(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content.decode(errors="backslashreplace")[:200]
