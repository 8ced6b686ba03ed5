"""Compare the results of a benchmark run with the JSON that an earlier run printed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from client.bench.load import BenchResult
from client.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a run sends. Only runs that send the same can be compared.

    Attributes:
        k: the values of k, used in turn; empty if k is left out.
        inputs: "random", "pictures", "samples" of other kinds, or "recorded" for recorded requests, unchanged.
        batch: how many examples each request holds; 0 for recorded requests, whose sizes vary.
        min_score: None if it is left out.
    """

    signature: str
    k: tuple[int, ...]
    inputs: str
    batch: int
    min_score: float | None = None


# Recorded requests name their own signatures.
AS_RECORDED = Subject(signature="as recorded", k=(), inputs="recorded", batch=0)


@dataclass(frozen=True)
class Baseline:
    """An earlier run: for each load, the calls per second, and the median and 99th percentile in milliseconds."""

    model: str
    subject: Subject
    loads: Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How one load changed: the new value divided by the old one. Above 1 means more calls, or longer latencies."""

    load: str
    calls_per_second: float
    median: float
    p99: float


def read_baseline(path: Path) -> Baseline:
    """Read a file that `serving-client bench --json` printed.

    Raises:
        InputError: if the file cannot be read or is something else.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        loads = {}
        for result in content["results"]:
            percentiles = result["percentiles_ms"]
            numbers = (result["calls_per_second"], percentiles["50"], percentiles["99"])
            loads[str(result["load"])] = (float(numbers[0]), float(numbers[1]), float(numbers[2]))
        subject = Subject(
            signature=str(content["signature"]),
            k=tuple(int(k) for k in content["k"]),
            inputs=str(content["inputs"]),
            batch=int(content["batch"]),
            # Older runs could not send it.
            min_score=None if content.get("min_score") is None else float(content["min_score"]),
        )
        return Baseline(str(content["model"]), subject, loads)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what serving-client bench --json prints: {error!r}") from error


def require_comparable(baseline: Baseline, subject: Subject, loads: Sequence[str]) -> None:
    """Raise InputError, naming what differs, unless a run of this subject and these loads can be compared."""
    differing = [
        f"{field.name} {_shown(getattr(baseline.subject, field.name))}, not {_shown(getattr(subject, field.name))}"
        for field in fields(Subject)
        if getattr(baseline.subject, field.name) != getattr(subject, field.name)
    ]
    if differing:
        raise InputError(f"the baseline measured something else: {'; '.join(differing)}")
    if not set(loads) & set(baseline.loads):
        raise InputError(f"the baseline measured {', '.join(baseline.loads) or 'nothing'}, not {', '.join(loads)}")


def compare_results(baseline: Baseline, results: Sequence[BenchResult]) -> list[Comparison]:
    """Return a comparison for each load under which both runs received answers."""
    found = []
    for result in results:
        old = baseline.loads.get(result.load, (0.0,))
        new = (result.calls_per_second, result.percentiles_ms["50"], result.percentiles_ms["99"])
        if all(old) and result.answered:
            calls, median, p99 = (now / then for now, then in zip(new, old, strict=True))
            found.append(Comparison(load=result.load, calls_per_second=calls, median=median, p99=p99))
    return found


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "left out"
    return "left out" if value is None else str(value)
