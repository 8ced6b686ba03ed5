"""How memory and time grow with labels, signatures, versions kept and golden records."""

import os
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.processes import process_cost
from benchmarks.ratios import Measured, Turn
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Growth"
ABOUT = (
    "Loading is measured in a process of its own that has imported TensorFlow and served something small before: "
    "the time until the stand-in is ready, warm-up included, and the growth of its resident memory. Checking is "
    "the whole process of `serving-client check` and the most memory that it held."
)
LABELS = (8, 1_000, 20_000, 100_000)
SIGNATURES = {1: ("serving_default",), 3: ("serving_default", "top_k", "fixed_k"), 7: None}
VERSIONS = (1, 2, 4, 8)
RECORDS = (8, 64, 256)
OURS, KERAS = "export-model", "keras.Model.export"
LOADING = {"time to load": "s", "memory": "MB"}
CHECKING = {"wall time": "s", "peak memory": "MB"}


def measure(run: Run, folder: Path) -> None:
    """Measure each kind of growth."""
    for labels in LABELS:
        if run.wants(case := f"{labels:,} labels"):
            _grow_labels(run, case, labels, folder)
    if run.wants("signatures"):
        _grow_signatures(run, folder)
    if run.wants("versions kept"):
        _grow_versions(run, folder)
    if run.wants("golden records"):
        _grow_records(run, folder)


def _grow_labels(run: Run, case: str, labels: int, folder: Path) -> None:
    from benchmarks import models

    classifier = models.wide(labels)
    paths = {OURS: models.publish(classifier, folder), KERAS: models.publish_plain(classifier, folder)}
    turns = {name: _loading([path]) for name, path in paths.items()}
    run.compare(case, turns, LOADING, {"labels": labels}, pairs=6, seconds=25)


def _grow_signatures(run: Run, folder: Path) -> None:
    from benchmarks import models

    turns = {}
    for count, keys in SIGNATURES.items():
        signatures = None if keys is None else (*keys, "export_info")
        digits = models.publish(models.load_classifier("digits"), folder / f"{count}", 2, signatures)
        turns[_counted(count, "signature")] = _loading([digits])
    _compare_counts(run, "signatures", turns, LOADING, list(SIGNATURES))


def _grow_versions(run: Run, folder: Path) -> None:
    from benchmarks import models

    published = models.publish(models.load_classifier("digits"), folder / "version", 2) / "1"
    turns = {}
    for count in VERSIONS:
        base_path = folder / f"versions{count}"
        base_path.mkdir()
        for number in range(1, count + 1):
            (base_path / str(number)).symlink_to(published)
        turns[_counted(count, "version")] = _loading([base_path], all_versions=True)
    _compare_counts(run, "versions kept", turns, LOADING, VERSIONS)


def _grow_records(run: Run, folder: Path) -> None:
    import numpy as np

    from benchmarks import models
    from benchmarks.servers import serving
    from exporter import Samples

    turns: dict[str, Turn] = {}
    servers = []
    classifier = models.wide(1_000)
    program = "from client.cli import main; main()"
    for count in RECORDS:
        features = np.random.default_rng(0).random((count, models.FEATURES), np.float32)
        samples = Samples({"features": features})
        base_path = models.publish(classifier, folder / f"{count}", signatures=None, samples=samples)
        server = serving([base_path])
        servers.append(server)
        address = server.__enter__().address
        command = [sys.executable, "-c", program, "--address", address, "--model", classifier.name, "check"]
        turns[_counted(count, "record")] = _process([*command, "--golden", str(base_path / "1")])
    try:
        _compare_counts(run, "golden records", turns, CHECKING, RECORDS)
    finally:
        for server in servers:
            server.__exit__(None, None, None)


def _process(command: Sequence[str]) -> Turn:
    return lambda: process_cost(command)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _compare_counts(
    run: Run, case: str, turns: dict[str, Turn], measures: dict[str, str], counts: Sequence[int]
) -> None:
    """Compare the most with the least and with what lies between, in one set of rounds."""
    first, *others = turns
    run.compare(
        case, turns, measures, {"from": counts[0]}, sides=[(other, first) for other in others], seconds=40, pairs=6
    )


def _loading(base_paths: list[Path], *, all_versions: bool = False) -> Turn:
    """Return what loads base paths in a fresh process that has imported TensorFlow."""

    def turn() -> Measured:
        context = get_context("forkserver")
        context.set_forkserver_preload(["server.model_server", "server.settings", "benchmarks.servers"])
        ours, theirs = context.Pipe()
        process = context.Process(target=_load, args=(theirs, base_paths, all_versions))
        process.start()
        theirs.close()
        with suppress(EOFError):
            measured: Measured = ours.recv()
            process.join()
            return measured
        process.join()
        raise RuntimeError(f"the process that loads {base_paths[0].name} ended with status {process.exitcode}")

    return turn


def _load(pipe: Any, base_paths: list[Path], all_versions: bool) -> None:
    from benchmarks.servers import free_port, models_config
    from client import ServingClient
    from server import ModelServer, Settings

    # The server says what it loads.
    os.dup2(os.open(os.devnull, os.O_RDWR), 2)
    config = base_paths[0].parent / f"growth-{free_port()}.config"
    config.write_text(models_config(base_paths, all_versions=all_versions))
    before, started = _resident_megabytes(), time.perf_counter()
    with ModelServer(Settings(model_config_file=config)) as server:
        for base_path in base_paths:
            with ServingClient(f"localhost:{server.port}", base_path.name) as client:
                for version in base_path.iterdir() if all_versions else ():
                    client.wait_until_ready(version=int(version.name), timeout=60)
        pipe.send({"time to load": time.perf_counter() - started, "memory": _resident_megabytes() - before})


def _resident_megabytes() -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text("utf-8"))
    assert found
    return int(found[1]) / 1024


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    labels = found(rows, case="100,000 labels", measure="memory")
    versions = found(rows, case="versions kept", what="8 versions", measure="memory")
    records = found(rows, case="golden records", what="256 records", measure="wall time")
    return (
        f"With 100,000 labels, a version takes {times(labels)} the memory of Keras's own export; eight versions take "
        f"{times(versions)} the memory of one; checking 256 golden records takes {times(records)} the time of 8."
    )
