"""TFRecord files. Each record holds its length, the checksum of the length, its payload, and the checksum of that."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import google_crc32c

from client.errors import DecodeError, InputError
from client.files import opened

HEADER_BYTES = 12
_FOOTER_BYTES = 4
# No protobuf message is longer, so a longer record holds none.
_MAX_BYTES = 2**31


def framed(*parts: bytes) -> list[bytes]:
    """Return a record that holds the joined parts, as a list of parts to write in order. Nothing is copied.

    Example:
        >>> b"".join(framed(b"ab", b"c")) == b"".join(framed(b"abc"))
        True
    """
    length = struct.pack("<Q", sum(map(len, parts)))
    return [length + _checksum(length), *parts, _checksum(*parts)]


def record_length(header: bytes, *, verify: bool = True) -> int | None:
    """Return how many bytes follow the header of a record, or None if it is not a header."""
    if len(header) < HEADER_BYTES or (verify and _checksum(header[:8]) != header[8:HEADER_BYTES]):
        return None
    (length,) = struct.unpack_from("<Q", header)
    return None if length > _MAX_BYTES else int(length) + _FOOTER_BYTES


def read_records(stream: BinaryIO, *, verify: bool = True) -> Iterator[bytes]:
    """Yield the payload of each record of a file; `verify` says whether to compare the checksums.

    Raises:
        DecodeError: at a record that is cut short or whose checksum is wrong; the message names its number, from 1.
    """
    number = 1
    while header := stream.read(HEADER_BYTES):
        if len(header) < HEADER_BYTES:
            raise DecodeError(f"record {number} is cut short")
        length = record_length(header, verify=verify)
        if length is None:
            raise DecodeError(f"record {number} is damaged: its length is wrong")
        content = stream.read(length)
        if len(content) < length:
            raise DecodeError(f"record {number} is cut short")
        payload = content[:-_FOOTER_BYTES]
        if verify and _checksum(payload) != content[-_FOOTER_BYTES:]:
            raise DecodeError(f"record {number} is damaged: its checksum is wrong")
        yield payload
        number += 1


def read_file(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield each record of a file: its name for error messages, and its payload.

    Raises:
        InputError: if the file cannot be read, or at a record that is damaged.
    """
    try:
        with opened(path) as stream:
            for number, payload in enumerate(read_records(stream), start=1):
                yield f"{path}, record {number}", payload
    except DecodeError as error:
        raise InputError(f"{path}: {error}") from error


def _checksum(*parts: bytes) -> bytes:
    """Return the CRC32C of the parts, masked as https://www.tensorflow.org/tutorials/load_data/tfrecord describes."""
    checksum = 0
    for part in parts:
        checksum = google_crc32c.extend(checksum, part)
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.pack("<I", masked)
