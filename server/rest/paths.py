"""The meaning of a REST path. Follows http_rest_api_util.cc."""

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_INT64 = range(-(1 << 63), 1 << 63)
_VERSION = r"(?:(?:/versions/(?P<version>[0-9]+))|(?:/labels/(?P<label>[^/:]+)))?"
_PATTERNS = {
    "POST": re.compile(
        rf"/v1/models/(?P<model>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.ASCII | re.IGNORECASE
    ),
    "GET": re.compile(
        rf"/v1/models(?:/(?P<model>[^/:]+))?{_VERSION}(?:/(?P<method>metadata))?", re.ASCII | re.IGNORECASE
    ),
}
_API = re.compile("/v1/.*", re.IGNORECASE)

# The characters that evhttp_uri_parse accepts.
_URI = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/?#-]|%[0-9A-Fa-f]{2})+")


class BadPathError(Exception):
    """A URI with characters that must be escaped."""


class HugeVersionError(Exception):
    """A version number that is too large."""


@dataclass(frozen=True)
class Target:
    """What a path addresses.

    Attributes:
        model: the model, or "" if the path has none.
        version, label: which version, if the path names one.
        method: classify, regress, predict, metadata or status.

    """

    model: str
    version: int | None
    label: str
    method: str


def split(uri: str) -> tuple[str, str]:
    """Return the path of a request's URI, and the path with its query.

    Raises:
        BadPathError: if it has characters that must be escaped.

    """
    if _URI.fullmatch(uri) is None:
        raise BadPathError
    whole = re.sub(r"^[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*", "", uri)
    path = re.split("[?#]", whole, maxsplit=1)[0]
    return path or "/", whole if path else f"/{whole}"


def is_api(path: str) -> bool:
    """Return whether a path belongs to the API, whose answers and errors are JSON."""
    return _API.fullmatch(path) is not None


def parse(method: str, path: str) -> Target | None:
    """Return what a method and a path with its query address, or None if they match nothing.

    Raises:
        HugeVersionError: if the version is not an int64.

    """
    pattern = _PATTERNS.get(method)
    match = pattern.fullmatch(path) if pattern is not None else None
    if match is None:
        return None
    method_name = match["method"] or "status"
    if method_name != method_name.lower():
        # The patterns ignore case, but the real server then compares the method exactly.
        if method == "POST":
            return None
        method_name = "status"
    digits = (match["version"] or "").lstrip("0")
    if len(digits) > 19 or int(digits or 0) not in _INT64:
        raise HugeVersionError
    return Target(
        model=_unescaped(match["model"] or ""),
        version=int(digits or 0) if match["version"] else None,
        label=_unescaped(match["label"] or ""),
        method=method_name,
    )


def _unescaped(text: str) -> str:
    return unquote_to_bytes(text).decode("utf-8", "replace")
