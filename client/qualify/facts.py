"""What the server tells of itself: versions, who batches, and what its metrics say of device and memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.client import ServingClient
from client.errors import ServerError
from client.rest.http import RestServer
from client.rpc.calls import predict_call
from client.rpc.metadata import Metadata, Target, VersionStatus
from client.rpc.sequences import BATCHING_REFUSAL
from client.samples.golden import Sample
from signatures.contract import names
from signatures.contract.record import ExportRecord, RecordError

# As TensorFlow names GPUs and their allocators: "/device:GPU:0", "GPU_0_bfc".
_GPU = re.compile(r"GPU[:_]\d")
_METRIC = re.compile(r"^(?P<name>[^\s{]+)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)$", re.MULTILINE)
_MEMORY = re.compile(r"memory|bytes_in_use|peak_bytes", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """What is known of a server.

    Attributes:
        version: the version that is qualified.
        versions: every version and its state.
        signatures: the signatures of the version.
        server_batching: whether the server merges requests before the graph.
        graph_batching: how the graph merges requests, as export.json says; None if it does not, or if that is unknown.
        image: the server image that the version was exported for.
        precision: what the version computes in, as export.json says.
    """

    version: int
    versions: tuple[VersionStatus, ...]
    signatures: tuple[str, ...]
    server_batching: bool
    graph_batching: dict[str, Any] | None
    image: str | None
    precision: str | None


@dataclass(frozen=True)
class MetricFacts:
    """What the server's metrics tell.

    Attributes:
        gpu_confirmed: whether they name a GPU.
        device: a sentence about the device.
        memory: those of memory, after the load.
        memory_told: a sentence about the memory.
    """

    gpu_confirmed: bool
    device: str
    memory: dict[str, float]
    memory_told: str


def server_facts(
    client: ServingClient, target: Target, metadata: Metadata, golden: Path, sample: Sample
) -> ServerFacts:
    """Ask a server for what it tells without load; `golden` is the version's directory, or its golden file."""
    record = record_of(golden)
    return ServerFacts(
        version=metadata.version,
        versions=client.status(),
        signatures=tuple(sorted(metadata.signatures)),
        server_batching=_server_batches(client, target, metadata, sample),
        graph_batching=None if record is None or record.batching is None else dict(record.batching),
        image=None if record is None else record.image,
        precision=None if record is None else record.precision,
    )


def record_of(golden: Path) -> ExportRecord | None:
    """Return the export.json beside golden records, or None if there is none that can be read."""
    directory = golden / names.ASSETS_EXTRA if golden.is_dir() else golden.parent
    try:
        return ExportRecord.from_file(directory / names.EXPORT_FILE)
    except RecordError:
        return None


def _server_batches(client: ServingClient, target: Target, metadata: Metadata, sample: Sample) -> bool:
    """Return whether the server refuses a scalar k, which only its own batching does."""
    signature = metadata.signature(names.SERVING_DEFAULT)
    every = {names.K: np.int32(1), names.MIN_SCORE: np.float32(0)}
    limits = {name: np.array(value) for name, value in every.items() if name in signature.limits}
    try:
        client.run(_one(target, signature.key, {**sample.inputs, **limits}, signature.rounded))
    except ServerError as error:
        if BATCHING_REFUSAL not in str(error):
            raise
        return True
    return False


def _one(target: Target, key: str, inputs: Any, dtypes: Any) -> Any:
    return (yield predict_call(target, key, inputs, dtypes=dtypes))


def read_metrics(rest: RestServer | None) -> str | None:
    """Return the page of metrics, or None if no REST port was given or it has no such page."""
    if rest is None:
        return None
    try:
        return rest.metrics()
    except ServerError:
        return None


def metric_facts(page: str | None) -> MetricFacts:
    """Return what a page of metrics tells of the device and of memory."""
    if page is None:
        unread = "No metrics were read: pass --rest HOST:PORT of a server that has them switched on."
        return MetricFacts(False, f"The server does not tell its device. {unread}", {}, unread)
    found = [(match["name"], match["labels"] or "", _number(match["value"])) for match in _METRIC.finditer(page)]
    gpus = _named_gpus(found)
    memory: dict[str, float] = {}
    for name, labels, value in found:
        if _MEMORY.search(name) and np.isfinite(value) and not name.endswith(("_bucket", "_count")):
            memory[f"{name}{{{labels}}}" if labels else name] = value
    device = f"Its metrics name {', '.join(gpus)}." if gpus else "The server does not tell its device."
    told = "As its metrics tell." if memory else "The server's metrics tell no memory."
    return MetricFacts(bool(gpus), device, memory, told)


def _named_gpus(found: Sequence[tuple[str, str, float]]) -> list[str]:
    """Return the GPUs that metrics with a value other than 0 name."""
    names_found = {match[0] for _, labels, value in found if value for match in _GPU.finditer(labels)}
    return sorted(name.replace("_", ":") for name in names_found)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
