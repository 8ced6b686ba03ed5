"""Scrapes of a server's metrics, for the tests of what is written about them."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRAPES = Path(__file__).parent / "scrapes"
TARGET = {"job": "model-server", "instance": "10.0.0.7:8501"}

_LINE = re.compile(r"(?P<name>[^{\s]+)(\{(?P<labels>.*)\})? (?P<value>\S+)")


def read(*names):
    """Return the value of each series in scrapes; a series is written as PromQL does, as of one target."""
    values = {}
    for name in names:
        for line in (SCRAPES / f"{name}.prom").read_text().splitlines():
            if not line.startswith("#"):
                found = _LINE.fullmatch(line)
                values[series(found["name"], found["labels"])] = float(found["value"])
    return values


def series(name, labels=""):
    target = ",".join(f'{label}="{value}"' for label, value in TARGET.items())
    return f"{name}{{{','.join(filter(None, [target, labels]))}}}"


@pytest.fixture(scope="session")
def scrapes():
    """What reads the recorded scrapes, and what writes a series."""
    return SimpleNamespace(read=read, series=series, up=series("up"))
