"""What recording adds to a call: `python benchmarks/recorder.py`; with HOST:PORT and MODEL, of a server that is up.

Without a server it starts a bare one in another process, which answers every request at once with the same bytes: a
call then takes the least that it can, and what the recorder adds is the largest part of it. Two clients take turns, one
call each; one records, the other does not, and who is first changes from pair to pair. A row is the median time of a
call without, what recording added to the call itself (the median of the pairs' differences, of a call's time), and the
processor time that the recorder's thread took to write, for each call, of a call's time. At a share of 1 every request
is recorded, at 0.01 one in a hundred.
"""

import json
import multiprocessing
import tempfile
import threading
import time
from concurrent import futures
from pathlib import Path
from typing import Any

import click
import grpc
import numpy as np
from rich.console import Console
from rich.table import Table

from client import Recorder, ServingClient
from client.rpc.calls import PREDICT
from client.rpc.codec import encode_tensor
from client.rpc.messages import PredictResponse

# Pairs that are left out.
WARM_UP = 200


def serve(connection: Any) -> None:
    """Answer every request with the same bytes, until the process is ended."""
    response = PredictResponse()
    response.model_spec.version.value = 1
    response.outputs["probabilities"].ParseFromString(b"".join(map(bytes, encode_tensor(np.zeros((1, 8), np.float32)))))
    answer = response.SerializeToString()
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
    service, _, method = PREDICT[1:].partition("/")
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: answer)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {method: handler})])
    connection.send(server.add_insecure_port("localhost:0"))
    server.start()
    server.wait_for_termination()


def measure(address: str, model: str, inputs: dict[str, Any], share: float, pairs: int) -> dict[str, Any]:
    """Return the time of a call, and what a recorder adds to it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Recorder(Path(folder, "traffic.tfrecord"), share=share, max_bytes=10**9) as record,
        ServingClient(address, model) as without,
        ServingClient(address, model, record=record) as recording,
    ):
        times: dict[ServingClient, list[float]] = {without: [], recording: []}
        for pair in range(WARM_UP + pairs):
            for client in (without, recording) if pair % 2 else (recording, without):
                start = time.perf_counter()
                client.predict(inputs, 2, validate=False)
                times[client].append(time.perf_counter() - start)
        record.flush()
        plain, recorded = (np.array(times[client][WARM_UP:]) for client in (without, recording))
        (thread,) = (thread for thread in threading.enumerate() if thread.name == "recorder")
        writing = time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) / (WARM_UP + pairs)
        call = float(np.median(plain))
        return {
            "share": share,
            "call_ms": call * 1e3,
            "in_the_call": float(np.median(recorded - plain)) / call,
            "writing": writing / call,
            "recorded": record.recorded,
            "dropped": record.dropped,
        }


@click.command()
@click.argument("address", required=False)
@click.argument("model", default="digits")
@click.option("--pairs", default=10_000, show_default=True, help="Pairs of calls for each row.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(address: str | None, model: str, pairs: int, as_json: bool) -> None:
    """Compare calls of a client that records with those of one that does not."""
    process = None
    if address is None:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
        process.start()
        address = f"localhost:{ours.recv()}"
    random = np.random.default_rng(0)
    sizes = {"32x32x1": (1, 32, 32, 1)} | ({} if process is None else {"224x224x3": (1, 224, 224, 3)})
    rows = []
    for name, shape in sizes.items():
        images = {"images": random.random(shape, np.float32)}
        rows += [{"images": name, **measure(address, model, images, share, pairs)} for share in (0.01, 1.0)]
    if process is not None:
        process.terminate()
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("images", "share", "call", "in the call", "writing", "recorded", "dropped")
    for row in rows:
        added = [f"{row[name]:+.2%}" for name in ("in_the_call", "writing")]
        counts = [str(row[name]) for name in ("recorded", "dropped")]
        table.add_row(row["images"], f"{row['share']:g}", f"{row['call_ms']:.3f} ms", *added, *counts)
    Console().print(table)


if __name__ == "__main__":
    main()
