"""Read JSON documents as the server's parser, rapidjson, does.

It is more lenient than Python's parser (`Inf`, strings that are not UTF-8, a byte order mark) and stricter with numbers
that no double holds. It reads doubles fast rather than exactly, so the last digit may differ, which shows only in
messages that quote the request.
"""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from server.errors import ServingError, invalid_argument
from server.rest.numbers import read_double
from server.rest.writing import show

T = TypeVar("T")
Document = dict[str, Any]

# rapidjson's messages for those of Python's parser.
_WORDS = {
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma, ] or } after a value.",
    "Expecting value": "Invalid value.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
    "Extra data": "The document root must not be followed by other values.",
}
_MAY_BE_BIG = re.compile(rb"[0-9]{19}|[eE]\+?[0-9]{3}")
_MAY_BE_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_SHORT_INFINITY = re.compile(r'"(?:[^"\\]|\\.)*"|\bInf\b', re.DOTALL)


def read(body: bytes, reader: Callable[[Document], T]) -> T:
    """Parse a request's body and read it with a function.

    Raises:
        ServingError: if the body is not a JSON object, or if the function raises it.

    """
    try:
        document = _parse(body, float)
        try:
            return reader(document)
        except ServingError:
            # Parse it again, with the digits that the real server's messages have.
            return reader(_parse(body, read_double))
    except RecursionError:
        raise invalid_argument("JSON Parse error: The document is nested too deeply for this stand-in.") from None


def _parse(body: bytes, parse_float: Callable[[str], float]) -> Document:
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    parse_int: Callable[[str], float] = int
    if _MAY_BE_BIG.search(body):
        parse_float, parse_int = _finite(parse_float), _integer
    load = partial(json.loads, parse_float=parse_float, parse_int=parse_int, object_pairs_hook=_first_of_each)
    try:
        try:
            document = load(text)
        except json.JSONDecodeError:
            document = load(_SHORT_INFINITY.sub(_long_infinity, text))
        if _MAY_BE_HALF.search(body):
            json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except json.JSONDecodeError as error:
        words = _WORDS.get(error.msg, f"{error.msg}.") if text.strip(" \t\r\n") else "The document is empty."
        offset = len(text[: error.pos].encode("utf-8", "surrogateescape"))
        raise invalid_argument(f"JSON Parse error: {words} at offset: {offset}") from None
    except UnicodeEncodeError:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None
    except (OverflowError, ValueError):
        raise invalid_argument("JSON Parse error: Number too big to be stored in double.") from None
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {show(document)} Is not object")
    return document


def _first_of_each(pairs: list[tuple[str, Any]]) -> Document:
    """Make an object from names and values; like rapidjson, use the first of repeated names."""
    document = dict(pairs)
    return document if len(document) == len(pairs) else dict(reversed(pairs))


def _long_infinity(match: re.Match[str]) -> str:
    return "Infinity" if match[0] == "Inf" else match[0]


def _finite(parse: Callable[[str], float]) -> Callable[[str], float]:
    def parse_finite(text: str) -> float:
        number = parse(text)
        if math.isinf(number):
            raise OverflowError(text)
        return number

    return parse_finite


def _integer(text: str) -> float:
    """Read an integer; to rapidjson, one that fits no integer type is a double."""
    number = int(text)
    return number if -(1 << 63) <= number < 1 << 64 else float(number)
