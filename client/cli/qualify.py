"""`serving-client qualify`."""

import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from client.bench.processes import Server, sender
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import POSITIVE, as_json_option, plain, show_or_print
from client.qualify.page import qualification_page
from client.qualify.results import Qualification
from client.qualify.run import qualify as run_qualification
from client.rest.http import RestServer


@click.command(cls=ConnectedCommand)
@click.option(
    "--golden",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The version's directory, or its golden file.",
)
@click.option("--p99", type=POSITIVE, metavar="MS", help="The 99th percentile of latency to stay below.")
@click.option(
    "--minutes",
    type=POSITIVE,
    default=10.0,
    show_default=True,
    help="How long the run may take.",
)
@click.option("--rest", metavar="HOST:PORT", help="The server's REST port, for its metrics.")
@click.option(
    "--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that send the load."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Where to write qualification.json and qualification.html.  [default: here]",
)
@as_json_option
@click.pass_obj
def qualify(
    connection: Connection,
    golden: Path,
    p99: float | None,
    minutes: float,
    rest: str | None,
    processes: int,
    output: Path,
    as_json: bool,
) -> int:
    """Measure what the server can do: deviation, throughput, latency; status 1 if it does not serve the export.

    Writes qualification.json, which check --tolerances reads, and qualification.html, with the batching settings that
    it recommends. It sends a heavy load: use a server without other callers.
    """
    server = Server(connection.required_address(), connection.required_model(), connection.timeout, connection.options)
    port = None if rest is None else RestServer(rest, connection.timeout)
    # A folder that cannot be written to is reported now, and not after the load.
    output.mkdir(parents=True, exist_ok=True)
    with connection.open() as client, sender(server, processes) as (_, send):
        found = run_qualification(
            client,
            send,
            golden,
            seconds=60 * minutes,
            p99_ms=p99,
            rest=port,
            say=partial(print, file=sys.stderr, flush=True),
        )
    files = _write(found, output)
    show_or_print(found, as_json, lambda: _show(found, files))
    return 0 if found.passed else 1


def _write(found: Qualification, output: Path) -> list[Path]:
    """Write both files, each of them whole or not at all."""
    written = {
        output / "qualification.json": json.dumps(plain(found), indent=2, allow_nan=False) + "\n",
        output / "qualification.html": qualification_page(found),
    }
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in written}
    try:
        for path, text in written.items():
            parts[path].write_text(text, "utf-8")
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
    return list(written)


def _show(found: Qualification, files: Sequence[Path]) -> None:
    best, chosen = found.load.best, found.load.recommendation
    if best is not None:
        print(f"Best: {best.examples_per_second:.0f} examples/s at {best.place}, p99 {best.p99_ms:.1f} ms.")
    if found.tolerances is not None:
        backbone = found.tolerances.backbone
        print(
            f"Tolerances: {backbone.atol:g} + {backbone.rtol:g} of the score, {found.headroom:g} times the deviation."
        )
    if chosen is not None:
        print(f"Recommended: {chosen.options}")
    for sentence in (*found.notes, *found.faults):
        print(sentence)
    print(f"Written: {', '.join(map(str, files))}")
