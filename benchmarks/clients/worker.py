"""What the clients that are compared share: each is a process that does one thing at a time, as its stdin says.

A line of stdin is `encode`, `decode` or `call`; the line of stdout that follows is the milliseconds that it took. The
libraries cannot share a process: they bring message classes of the same names, and need different protobufs.
"""

import math
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODEL, K = "digits", 2


def large_images() -> Any:
    """Return what is encoded: 19 MB."""
    return np.random.default_rng(0).random((32, 224, 224, 3), np.float32)


def one_image() -> Any:
    """Return what a call sends."""
    return np.random.default_rng(0).random((1, 32, 32, 1), np.float32)


def large_answer() -> bytes:
    """Return what is decoded: a PredictResponse with 20,000 scores for each of 32 examples, as a server writes it."""
    return Path(sys.argv[2]).read_bytes()


def run(works: Mapping[str, Callable[[], object]]) -> None:
    """Do what stdin says until it ends."""
    repeats: dict[str, int] = {}
    for line in sys.stdin:
        call = works[line.strip()]
        if line not in repeats:
            started = time.perf_counter()
            call()
            # The first call prepares what the others find; a slow one is hardly slower for it.
            if time.perf_counter() - started < 0.5:
                started = time.perf_counter()
                call()
            repeats[line] = max(1, math.ceil(0.02 / (time.perf_counter() - started)))
        started = time.perf_counter()
        for _ in range(repeats[line]):
            call()
        print((time.perf_counter() - started) * 1e3 / repeats[line], flush=True)
