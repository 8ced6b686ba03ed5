"""The REST API and the metrics page as a WSGI application. Follows http_server.cc.

Errors are JSON with the sentence of the gRPC error; other paths get the HTML page of the real server's library.
"""

import zlib
from collections.abc import Callable, Iterable
from http.client import responses
from typing import Any, NamedTuple

import grpc

from server import metrics
from server.errors import ServingError, fault, invalid_argument
from server.metrics import Metrics
from server.rest import paths
from server.rest.api import RestApi
from server.rest.paths import BadPathError
from server.rest.replies import error_json

_METHODS = frozenset({"GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"})
_MAX_UNCOMPRESSED_BYTES = 100 << 20
_JSON = "application/json"
_PHRASES = {**responses, 499: "Client Closed Request"}
_STATUS = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}


class _Reply(NamedTuple):
    status: int
    content_type: str
    text: str


class RestApp:
    """The answers of a server over HTTP.

    Args:
        api: answers the requests to models.
        metrics: counts the requests, and fills the metrics page.
        metrics_path: the path of the metrics page; None for no page.
        log: called with one sentence for each fault of the server itself.

    """

    def __init__(self, api: RestApi, metrics: Metrics, metrics_path: str | None, log: Callable[[str], None]) -> None:
        self._api = api
        self._metrics = metrics
        self._metrics_path = metrics_path
        self._log = log

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        method = environ["REQUEST_METHOD"]
        try:
            reply = self._reply(method, environ)
        except BadPathError:
            reply = _page(400)
        body = b"" if method == "HEAD" else reply.text.encode("utf-8", "surrogateescape")
        headers = [("Content-Type", reply.content_type), ("Content-Length", str(len(body)))]
        start_response(f"{reply.status} {_PHRASES[reply.status]}", headers)
        return [body]

    def _reply(self, method: str, environ: dict[str, Any]) -> _Reply:
        path, path_and_query = paths.split(environ["REQUEST_URI"])
        if method not in _METHODS:
            return _page(501)
        if path == self._metrics_path:
            if path_and_query == path:
                return _Reply(200, "text/plain", self._metrics.page())
            return _Reply(400, "text/plain", f"Unexpected path: {path_and_query}. Should be {path}")
        if not paths.is_api(path_and_query):
            return _page(404)
        return self._answer(method, path_and_query, _body(environ))

    def _answer(self, method: str, path: str, body: bytes) -> _Reply:
        began, model, api = metrics.now(), "", ""
        code = grpc.StatusCode.OK
        try:
            target = paths.parse(method, path)
            if target is None:
                raise invalid_argument(f"Malformed request: {method} {path}")
            model, api = target.model, target.method if method == "POST" else ""
            text = self._api.answer(target, body)
        except paths.HugeVersionError:
            # The real server loses the message here.
            code, text = grpc.StatusCode.INVALID_ARGUMENT, ""
        except ServingError as error:
            code, text = error.code, error_json(error.message)
        except Exception as error:  # A bug that a request triggers must not take the server down.
            self._log(f"A request to {path} failed: {error!r}")
            code, text = fault(error).code, error_json(fault(error).message)
        self._metrics.count_request(model, api, "REST", code, began)
        return _Reply(_STATUS.get(code, 500), _JSON, text)


def _body(environ: dict[str, Any]) -> bytes:
    """Return the request's body; like the real server, treat one that cannot be decompressed as empty."""
    body: bytes = environ["wsgi.input"].read()
    if "gzip" not in environ.get("HTTP_CONTENT_ENCODING", "") or not body:
        return body
    gzip = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
    try:
        unpacked = gzip.decompress(body, _MAX_UNCOMPRESSED_BYTES)
    except zlib.error:
        return b""
    return unpacked if gzip.eof else b""


def _page(status: int) -> _Reply:
    phrase = _PHRASES[status]
    return _Reply(
        status,
        "text/html",
        f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n",
    )
