"""Two benchmark runs compared: the JSON that one printed, and the results of another."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.bench.load import BenchResult
from client.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What became of one load: now divided by before; above 1 is more calls, or longer latencies."""

    load: str
    batch: int
    calls_per_second: float
    median: float
    p99: float


def read_baseline(path: Path) -> list[Mapping[str, Any]]:
    """Return the results in a file that `serving-client bench --json` printed; raises InputError for another."""
    try:
        results: list[Mapping[str, Any]] = json.loads(path.read_text("utf-8"))["results"]
        for result in results:
            _numbers(result)
        return results
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is not what serving-client bench --json prints: {error!r}") from error


def compared(baseline: Sequence[Mapping[str, Any]], results: Sequence[BenchResult]) -> list[Comparison]:
    """Return a comparison for each load that both runs have; loads of another batch size are others."""
    before = {(result["load"], result["batch"]): _numbers(result) for result in baseline}
    found = []
    for result in results:
        old = before.get((result.load, result.batch))
        new = (result.calls_per_second, result.percentiles_ms["50"], result.percentiles_ms["99"])
        if old is not None and all(old):
            calls, median, p99 = (now / then for now, then in zip(new, old, strict=True))
            found.append(
                Comparison(load=result.load, batch=result.batch, calls_per_second=calls, median=median, p99=p99)
            )
    return found


def _numbers(result: Mapping[str, Any]) -> tuple[float, float, float]:
    percentiles = result["percentiles_ms"]
    return float(result["calls_per_second"]), float(percentiles["50"]), float(percentiles["99"])
