"""What the server reports about itself: versions and batching, and in its metrics, device and memory."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from client.client import ServingClient
from client.errors import ServerError, UnreachableError
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
    """What is known about a server and the `version` that is qualified.

    Attributes:
        server_batching: whether the server merges requests before the graph.
        graph_batching: the parameters of batching in the graph, from export.json; None if there are none.
        image: the server image that the version was exported for.
        precision: the precision that the version computes in, from export.json.
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
    """What the server's metrics report after the load. `device` and `memory_told` are sentences."""

    gpu_confirmed: bool
    device: str
    memory: dict[str, float]
    memory_told: str


def server_facts(
    client: ServingClient, target: Target, metadata: Metadata, golden: Path, sample: Sample
) -> ServerFacts:
    """Ask a server about itself, without load; `golden` is the version's directory, or its golden file."""
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
    """Return the export.json beside golden records, or None if there is no readable one."""
    directory = golden / names.ASSETS_EXTRA if golden.is_dir() else golden.parent
    try:
        return ExportRecord.from_file(directory / names.EXPORT_FILE)
    except RecordError:
        return None


def _server_batches(client: ServingClient, target: Target, metadata: Metadata, sample: Sample) -> bool:
    """Return whether the server refuses a scalar k, which only a server's own batching does."""
    signature = metadata.signature(names.SERVING_DEFAULT)
    every = {names.K: np.int32(1), names.MIN_SCORE: np.float32(0)}
    limits = {name: np.array(value) for name, value in every.items() if name in signature.limits}
    call = predict_call(target, signature.key, {**sample.inputs, **limits}, dtypes=signature.rounded)
    try:
        client.transport.send(call.method, call.request, client.timeout)
    except ServerError as error:
        if BATCHING_REFUSAL not in str(error):
            raise
        return True
    return False


def read_metrics(rest: RestServer | None) -> str | None:
    """Return the page of metrics, or None if no REST port was given or it has no such page.

    Raises:
        UnreachableError: if the REST port does not answer.
    """
    try:
        return None if rest is None else rest.metrics()
    except UnreachableError:
        raise
    except ServerError:
        return None


def metric_facts(page: str | None) -> MetricFacts:
    """Return what a page of metrics reports about the device and memory."""
    if page is None:
        unread = "No metrics were read: start the server with --monitoring_config_file, and pass --rest HOST:PORT."
        return MetricFacts(False, f"The server does not report its device. {unread}", {}, unread)
    metrics = [(match["name"], match["labels"] or "", _number(match["value"])) for match in _METRIC.finditer(page)]
    # Metrics whose value is 0 name devices that do nothing.
    gpus = sorted({gpu[0].replace("_", ":") for _, labels, value in metrics if value for gpu in _GPU.finditer(labels)})
    memory: dict[str, float] = {}
    for name, labels, value in metrics:
        if _MEMORY.search(name) and np.isfinite(value) and not name.endswith(("_bucket", "_count")):
            memory[f"{name}{{{labels}}}" if labels else name] = value
    device = f"Its metrics name {', '.join(gpus)}." if gpus else "The server does not report its device."
    sentence = "From the server's metrics." if memory else "The server's metrics do not report memory."
    return MetricFacts(bool(gpus), device, memory, sentence)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
