"""Runs parts, each in a process of its own, and keeps what they measured in one JSON file."""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.machine import describe

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "benchmarks" / "results.json"
# Longer than any part should take; a part that hangs must not take the others with it.
_MOST_SECONDS = 900


def measure_parts(parts: Sequence[str], pairs: int | None, seconds: float | None, file: Path = FILE) -> list[str]:
    """Measure parts one after another, write their results, and return the parts that failed.

    Results of parts that are not measured stay. What a part measured is written as soon as it ends.
    """
    described = describe()
    before = json.loads(file.read_text("utf-8")) if file.exists() else {}
    results: dict[str, Any] = {**described, "parts": before.get("parts", {})}
    limits = [f"--{name}={value}" for name, value in (("pairs", pairs), ("seconds", seconds)) if value is not None]
    failed = []
    for part in parts:
        click.echo(f"== {part}", err=True)
        started = time.monotonic()
        measured = _measured(part, limits)
        measured["minutes"] = round((time.monotonic() - started) / 60, 1)
        measured |= {name: described[name] for name in ("date", "commit")}
        results["parts"][part] = measured
        if "failed" in measured:
            failed.append(part)
            click.echo(measured["failed"], err=True)
        write(results, file)
    return failed


def write(results: dict[str, Any], file: Path) -> None:
    """Write results, in whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    new.rename(file)


def _measured(part: str, limits: Sequence[str]) -> dict[str, Any]:
    """Return what a part measured, or a sentence that says why it failed."""
    command = [sys.executable, "-m", "benchmarks", part, "--json", *limits]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return _failure(f"the part {part} was ended after {_MOST_SECONDS / 60:g} minutes.")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}."])[-1]
        return _failure(last.removeprefix("Error: "))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _failure(sentence: str) -> dict[str, Any]:
    return {"failed": sentence[0].upper() + sentence[1:], "notes": [], "rows": []}
