"""Read samples from every kind of file."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from client.errors import InputError
from client.files import content_of, opened
from client.recording.tfrecord import HEADER_BYTES, record_length
from client.rpc.metadata import Metadata
from client.samples.arrays import array_samples
from client.samples.golden import Sample, read_golden
from client.samples.images import image_input, image_sample
from client.samples.making import Served, sample_of
from client.samples.records import record_samples
from client.samples.rows import title
from signatures.contract import names
from signatures.contract.json_lines import LineError, read_line

# Standard input, which holds JSON lines.
STANDARD_INPUT = "-"
_JSON_LINES = {".jsonl", ".ndjson", ".json"}
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg"}
# In a folder of images: {"FILE": ["LABEL", ...]}.
_LABELS_FILE = "labels.json"


def read_samples(
    paths: Sequence[str | Path],
    metadata: Metadata,
    preprocessing: str | None = None,
    signature: str = names.SERVING_DEFAULT,
) -> tuple[Sample, ...]:
    """Read the samples of files of any kind, fitted to a served model; see docs/samples.md.

    Args:
        paths: images, folders of images, `.npz` files, JSON lines, TFRecord files of tf.Examples or of recorded
            requests, directories of published versions (their golden records), or "-" for JSON lines on standard input.
        metadata: the signatures of the served model.
        preprocessing: how pixels become the model's input, as `info` reports; only images need it.
        signature: the key of the signature whose inputs the samples have.

    Returns:
        The samples, in order. Each has a title, a source and, if they are known, its true labels.

    Raises:
        InputError: if a file cannot be read, does not fit the model, or holds no samples.

    Example:
        >>> with ServingClient("localhost:8500", "topics") as client:
        ...     samples = read_samples(["texts.jsonl"], client.metadata())
        >>> samples[0].inputs["text"].tolist(), samples[0].title
        ([b'a text'], 'a text')
    """
    return tuple(iterate_samples(paths, metadata, preprocessing, signature))


def iterate_samples(
    paths: Sequence[str | Path],
    metadata: Metadata,
    preprocessing: str | None = None,
    signature: str = names.SERVING_DEFAULT,
) -> Iterator[Sample]:
    """Yield the samples of `read_samples` one by one, for files that do not fit into memory."""
    served = Served(metadata, preprocessing, signature)
    for path in paths:
        found = False
        for sample in _samples(path, served):
            found = True
            yield sample
        if not found:
            raise InputError(f"{_shown(path)} holds no samples")


def _samples(path: str | Path, served: Served) -> Iterator[Sample]:
    if str(path) == STANDARD_INPUT:
        return _json_samples(sys.stdin.buffer, _shown(path), served)
    path = Path(path)
    if path.name == names.GOLDEN_FILE or (path / names.ASSETS_EXTRA / names.GOLDEN_FILE).exists():
        return _golden_samples(path)
    if path.is_dir():
        return _folder_samples(path, served)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return array_samples(path, served)
    if suffix in _JSON_LINES:
        return _json_samples(_lines(path), str(path), served)
    if suffix not in IMAGE_SUFFIXES and _begins_with_a_record(path):
        return record_samples(path, served)
    if suffix == ".tfrecord":
        raise InputError(f"{path} is not a TFRecord file, or it is damaged at its start")
    return iter([_image(path, served)])


def _golden_samples(path: Path) -> Iterator[Sample]:
    golden = read_golden(path)
    for number, sample in enumerate(golden.samples, start=1):
        source = f"{golden.source}, record {number}"
        yield replace(sample, title=title(sample.inputs, source), source=source)


def _folder_samples(folder: Path, served: Served) -> Iterator[Sample]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    labels = folder / _LABELS_FILE
    truth = _named_labels(labels) if labels.exists() else {}
    if strangers := sorted(truth.keys() - {file.name for file in files}):
        raise InputError(f"{labels} names {strangers[0]!r}, but the folder has no image of that name")
    for file in files:
        yield replace(_image(file, served), truth=truth.get(file.name))


def _named_labels(file: Path) -> dict[str, tuple[str, ...]]:
    try:
        named: Any = json.loads(content_of(file).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is not JSON: {error}") from error
    if not isinstance(named, dict) or not all(isinstance(labels, list) for labels in named.values()):
        raise InputError(f'{file} must be an object, {{"FILE": ["LABEL", ...]}}')
    return {name: tuple(map(str, labels)) for name, labels in named.items()}


def _json_samples(lines: Iterable[bytes], name: str, served: Served) -> Iterator[Sample]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        source = f"{name}, line {number}"
        try:
            stated = read_line(line, served.inputs, source)
        except LineError as error:
            raise InputError(str(error)) from error
        sample = sample_of(served, stated.values, source)
        yield replace(sample, k=stated.k, min_score=stated.min_score, truth=stated.labels)


def _lines(path: Path) -> Iterator[bytes]:
    with opened(path) as stream:
        yield from stream


def _begins_with_a_record(path: Path) -> bool:
    with opened(path) as stream:
        return record_length(stream.read(HEADER_BYTES)) is not None


def _image(path: Path, served: Served) -> Sample:
    try:
        image_input(served.metadata)
    except InputError as error:
        known = "a .npz file, JSON lines (.jsonl), a TFRecord file or a version's directory"
        raise InputError(f"{path} is not {known}, and {error}") from error
    sample = image_sample(content_of(path), str(path), served.metadata, served.preprocessing)
    return replace(sample, title=path.name)


def _shown(path: str | Path) -> str:
    return "standard input" if str(path) == STANDARD_INPUT else str(path)
