"""What the client adds to a call: `python benchmarks/client_calls.py HOST:PORT MODEL`, against a server that is up.

One thread asks for one image of the declared size, in turns: a bare gRPC stub that sends a prebuilt request and
does not decode, `predict` as users call it, and `predict` with validate=False. A row is the calls per second, and the
median ratio to the bare stub of the same round.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import click
import grpc
from rich.console import Console
from rich.table import Table

from client import ServingClient
from client.bench.requests import sample_requests
from client.rpc.calls import predict_call
from client.rpc.metadata import Target
from client.samples import inputs_of, random_samples
from signatures.contract import names


@click.command()
@click.argument("address")
@click.argument("model")
@click.option("--rounds", default=20, show_default=True)
@click.option("--calls", default=200, show_default=True, help="Calls of each kind in a round.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(address: str, model: str, rounds: int, calls: int, as_json: bool) -> None:
    """Compare the client with a bare gRPC stub."""
    with ServingClient(address, model) as client, grpc.insecure_channel(address) as channel:
        signature = client.metadata().signature(names.SERVING_DEFAULT)
        samples = random_samples(client.metadata(), 1)
        inputs = inputs_of(samples, signature)
        (request,) = sample_requests(Target(model), signature, samples, [2], 1)
        stub = channel.unary_unary(predict_call(Target(model), signature.key, {}).method)
        kinds: dict[str, Callable[[], Any]] = {
            "bare stub": lambda: stub(request.content, timeout=10),
            "predict": lambda: client.predict(inputs, 2),
            "predict, validate=False": lambda: client.predict(inputs, 2, validate=False),
        }
        speeds: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(rounds + 1):
            for name, call in kinds.items():
                start = time.perf_counter()
                for _ in range(calls):
                    call()
                speeds[name].append(calls / (time.perf_counter() - start))
    rows = [
        {
            "by": name,
            "calls_per_second": median(found[1:]),
            "to_bare_stub": median(a / b for a, b in zip(found[1:], speeds["bare stub"][1:], strict=True)),
        }
        for name, found in speeds.items()
    ]
    if as_json:
        print(json.dumps(rows))
        return
    table = Table("by", "calls/s", "to the bare stub")
    for row in rows:
        table.add_row(row["by"], f"{row['calls_per_second']:.0f}", f"{row['to_bare_stub']:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
