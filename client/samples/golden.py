"""What a served model is compared with: samples, their expected dense answers, and the identity of the export."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError as ProtobufDecodeError
from numpy.typing import NDArray

from client.errors import DecodeError, InputError
from client.recording.tfrecord import read_records
from client.rpc.codec import decode_tensor
from client.rpc.messages import PredictionLog
from signatures.contract import names
from signatures.contract.record import ExportRecord, RecordError


@dataclass(frozen=True)
class Sample:
    """One example.

    Attributes:
        inputs: the model's inputs by name, each with a leading dimension of 1.
        dense: the expected probabilities, float32 [N], or None if they are not known.
        file: a JPEG or PNG file of the same image.
        exact: whether the file holds exactly the pixels of the inputs, so that it must have the same scores.
        title: what to show for it: a file's name, the text, or the values, shortened.
        source: where it was read, for error messages: "data.jsonl, line 3".
        truth: the true labels, by name or by index; None if they are not known.
        k: its own k, if it has one.
        min_score: its own min_score, if it has one.
    """

    inputs: Mapping[str, NDArray[Any]]
    dense: NDArray[np.float32] | None = None
    file: bytes | None = None
    exact: bool = False
    title: str = ""
    source: str = ""
    truth: tuple[str | int, ...] | None = None
    k: int | None = None
    min_score: float | None = None


@dataclass(frozen=True)
class ExpectedIdentity:
    """The expected identity; a field that is None is unknown, or need not be the same."""

    labels: tuple[str, ...]
    export_id: str | None = None
    model: str | None = None
    k: int | None = None
    preprocessing: str | None = None
    golden_digest: str | None = None
    min_score: float | None = None
    thresholds: tuple[float, ...] | None = None
    signatures: Mapping[str, Any] | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Expectation:
    """What is expected of a server.

    source: where it was read. digest: the golden file's SHA-256. version: the version that the records belong to.
    """

    source: str
    samples: tuple[Sample, ...]
    export: ExpectedIdentity | None = None
    digest: str | None = None
    version: int | None = None


def read_golden(path: Path) -> Expectation:
    """Read the golden records of a published version, from its directory or its golden file.

    Raises:
        InputError: if there are no golden records, or if a file cannot be read.
    """
    file = path / names.ASSETS_EXTRA / names.GOLDEN_FILE if path.is_dir() else path
    content = _content(file)
    try:
        # The SHA-256 in export.json and in the served model detects more changes than the records' checksums.
        samples = tuple(_sample(payload) for payload in read_records(io.BytesIO(content), verify=False))
    except (DecodeError, ProtobufDecodeError, KeyError, ValueError) as error:
        raise InputError(f"{file} does not hold golden records: {error}") from error
    if not samples:
        raise InputError(f"{file} holds no records")
    digest = hashlib.sha256(content).hexdigest()
    export, directory = _export(file.with_name(names.EXPORT_FILE)), file.resolve().parent.parent.name
    return Expectation(str(file), samples, export, digest, int(directory) if directory.isdecimal() else None)


def _sample(payload: bytes) -> Sample:
    log = PredictionLog.FromString(payload).predict_log
    given = sorted(log.request.inputs.items())
    inputs = {name: decode_tensor(tensor) for name, tensor in given if name not in names.LIMITS}
    dense = decode_tensor(log.response.outputs[names.PROBABILITIES])
    if not inputs or dense.ndim != 2 or len(dense) != 1 or any(array.shape[:1] != (1,) for array in inputs.values()):
        raise DecodeError("a record is not one example with its dense probabilities")
    return Sample(inputs, dense[0])


def _export(file: Path) -> ExpectedIdentity:
    try:
        record = ExportRecord.from_file(file)
    except RecordError as error:
        raise InputError(str(error)) from error
    return ExpectedIdentity(**record.identity, signatures=record.signatures, precision=record.precision)


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read ({error.strerror}): pass a version directory that export-model wrote"
        raise InputError(message) from error
