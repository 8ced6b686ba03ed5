"""Throughput and tail latency by callers at once: without batching, with batching in the graph, and in the server."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks.ratios import Measured, Turn, take_turns
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Batching"
ABOUT = (
    "MobileNetV2 at 64x64, served by the stand-in three times: every request alone, batching in the graph, and "
    "the server's own batching (`--enable_batching`). `serving-client bench` sends one image per request with "
    "k = 1, 2 and 5 in turn; it shares the cores with the server. *Good requests answered* is the share of the "
    "requests of four clients that got an answer while other clients sent images of a wrong shape."
)
NONE, GRAPH, SERVER = "no batching", "in the graph", "in the server"
CONCURRENCY = (1, 4, 16, 64)
BAD_CLIENTS = (1, 2, 4)
SIZE, WRONG_SIZE = 64, 32
ANSWERED = "good requests answered"
_SECONDS = 1.5
_ROUNDS = 5
_GOOD_CLIENTS = 4


def measure(run: Run, folder: Path) -> None:
    """Load the three servers in turns, without bad clients and with some."""
    loads = [(callers, case) for callers in CONCURRENCY if run.wants(case := _case(callers))]
    bad = [(clients, case) for clients in BAD_CLIENTS if run.wants(case := _bad_case(clients))]
    if not loads and not bad:
        return
    seconds = min(_SECONDS, run.seconds)
    with ExitStack() as stack:
        addresses = {name: stack.enter_context(server) for name, server in _servers(folder).items()}
        for callers, case in loads:
            turns = {name: _load(address, callers, seconds) for name, address in addresses.items()}
            measures = {"throughput": "requests/s", "99th percentile": "ms"}
            sides = [(GRAPH, NONE), (SERVER, NONE), (GRAPH, SERVER)]
            run.compare(case, turns, measures, {"callers": callers}, sides=sides, pairs=_ROUNDS, seconds=60)
        for clients, case in bad:
            turns = {name: _load_with_bad_clients(address, clients, seconds) for name, address in addresses.items()}
            run.add_shares(case, ANSWERED, take_turns(turns, min(_ROUNDS, run.pairs), 60), {"bad clients": clients})


def _case(callers: int) -> str:
    return f"{callers} {'caller' if callers == 1 else 'callers'} at once"


def _bad_case(clients: int) -> str:
    return f"{clients} bad {'client' if clients == 1 else 'clients'}"


def _servers(folder: Path) -> Mapping[str, Any]:
    """Export the model for each kind of batching, and return what serves it."""
    from benchmarks import models
    from benchmarks.servers import serving
    from signatures import Batching

    classifier = models.mobilenetv2(SIZE)
    how: dict[str, tuple[str, dict[str, Any]]] = {
        NONE: ("none", {}),
        GRAPH: ("graph", {"batching": Batching()}),
        SERVER: ("server", {"server_batching": Batching()}),
    }
    found = {}
    for name, (output, options) in how.items():
        base_path = models.publish(classifier, folder / output, **options)
        config = folder / output / "deploy" / "batching.config"
        flags = ["--enable_batching", f"--batching_parameters_file={config}"] if name == SERVER else []
        found[name] = _address(serving([base_path], *flags))
    return found


@contextmanager
def _address(server: Any) -> Iterator[str]:
    with server as running:
        yield running.address


def _bench(address: str, callers: int, seconds: float) -> dict[str, Any]:
    options = f"--random --concurrency {callers} --duration {seconds} --warmup 0.3 --k 1,2,5 --min-score 0 --json"
    program = "from client.cli import main; main()"
    command = [sys.executable, "-c", program, "--address", address, "--model", "mobilenetv2", "bench", *options.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"serving-client bench ended with: {done.stderr.strip()}")
    (result,) = json.loads(done.stdout)["results"]
    return dict(result)


def _load(address: str, callers: int, seconds: float) -> Turn:
    def turn() -> Measured:
        result = _bench(address, callers, seconds)
        if result["errors"]:
            raise RuntimeError(f"good requests failed: {result['errors']}")
        return {"throughput": result["calls_per_second"], "99th percentile": result["percentiles_ms"]["99"]}

    return turn


def _load_with_bad_clients(address: str, clients: int, seconds: float) -> Turn:
    def turn() -> Measured:
        stop = threading.Event()
        with ThreadPoolExecutor(_GOOD_CLIENTS + clients) as pool:
            bad = [pool.submit(_send, address, WRONG_SIZE, stop) for _ in range(clients)]
            good = [pool.submit(_send, address, SIZE, stop) for _ in range(_GOOD_CLIENTS)]
            stop.wait(seconds)
            stop.set()
        if any(sent.result()[0] for sent in bad):
            raise RuntimeError("images of a wrong size were answered")
        answered, lost = (sum(each) for each in zip(*(sent.result() for sent in good), strict=True))
        return {ANSWERED: answered / max(1, answered + lost)}

    return turn


def _send(address: str, size: int, stop: threading.Event) -> tuple[int, int]:
    """Send images of a size until told to stop; return how many were answered, and how many were lost."""
    import grpc
    import numpy as np

    from client.rpc.calls import predict_call
    from client.rpc.metadata import Target

    inputs = {
        "images": np.zeros((1, size, size, 3), np.float32),
        "k": np.ones(1, np.int32),
        "min_score": np.zeros(1, np.float32),
    }
    call = predict_call(Target("mobilenetv2"), "serving_default", inputs)
    answered = lost = 0
    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = channel.unary_unary(call.method)
        while not stop.is_set():
            try:
                stub(call.request, timeout=10)
                answered += 1
            except grpc.RpcError:
                lost += 1
    return answered, lost


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    case, measure = _case(64), "throughput"
    graph = found(rows, case=case, what=GRAPH, against=NONE, measure=measure)
    server = found(rows, case=case, what=GRAPH, against=SERVER, measure=measure)
    ours, theirs = (found(rows, case=_bad_case(2), what=name)["ratio"] for name in (GRAPH, SERVER))
    return (
        f"With 64 callers, batching in the graph has {times(graph)} the throughput of no batching, and {times(server)} "
        f"that of the server's own. With two bad clients, it answers {ours:.0%} of the good requests, and the server's "
        f"own answers {theirs:.0%}."
    )
