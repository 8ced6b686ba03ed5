"""Samples of JSON lines: a JSON object for each, or a bare value for a model with one input."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from client.errors import InputError
from client.samples.golden import Sample
from client.samples.making import Served, sample_of
from signatures.contract.json_lines import LineError, read_line


def json_samples(lines: Iterable[bytes], name: str, served: Served) -> Iterator[Sample]:
    """Yield the samples of JSON lines; empty lines are skipped.

    Args:
        lines: the lines, as `signatures.contract.json_lines` reads them.
        name: what an error calls the file.
        served: what the samples are made for.

    Raises:
        InputError: for a line that is something else; the message names the line and the input.
    """
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield _sample(line, f"{name}, line {number}", served)


def _sample(line: bytes, source: str, served: Served) -> Sample:
    try:
        stated = read_line(line, served.inputs, source)
    except LineError as error:
        raise InputError(str(error)) from error
    sample = sample_of(served, stated.values, source)
    return replace(sample, k=stated.k, min_score=stated.min_score, truth=stated.labels)
