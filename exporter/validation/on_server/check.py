"""Check a running server with the three questions of `serving-client check`.

The client runs in a separate process: it is for machines without TensorFlow, and the exporter does not import it.
"""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exporter.errors import ValidationError
from exporter.validation.on_server.readiness import how_it_died, refusal
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.servers.commands import run
from exporter.validation.on_server.servers.server import Server
from exporter.validation.on_server.target import Target
from signatures.contract import names

_CALL_SECONDS = 120
_CHECK_SECONDS = 3600.0
_QUESTIONS = ("identity", "backbone", "head")
# Not from the current directory, which may have a package called client.
_PROGRAM = (sys.executable, "-P", "-c", "from client.cli import main; main()")


def check_arguments(address: str, servable: Servable, golden: str, *, gpu: bool) -> list[str]:
    """Return the arguments of `serving-client` that check a server."""
    call = ["--address", address, "--model", servable.model, "--timeout", f"{_CALL_SECONDS}"]
    return [*call, "check", "--golden", golden, *(["--gpu"] if gpu else [])]


def ask_three_questions(
    server: Server, address: str, target: Target, servable: Servable, work: Path, *, gpu: bool
) -> Mapping[str, Any]:
    """Check a server against the staged version's golden records and its export.json.

    Returns:
        What `serving-client check --json` prints for a server that passes.

    Raises:
        ValidationError: when the answer to a question is no (the message has the first fault), or when the server ends
            during the check (the message has its last words).
    """
    records = _link_records(servable, work)
    done = run(
        [*_PROGRAM, *check_arguments(address, servable, str(records), gpu=gpu), "--json"],
        seconds=_CHECK_SECONDS,
        give_up=True,
        environment={**os.environ, "no_grpc_proxy": "127.0.0.1"},
    )
    if done.status not in (0, 1):
        if ended := how_it_died(server):
            raise refusal(target, f"did not survive the check: {ended}", server)
        problem = done.last_line.rstrip(".")
        raise ValidationError(f"{target} serves this version, but the check could not be made: {problem}.")
    verdict: dict[str, Any] = json.loads(done.stdout)
    wrong = f"{target} serves this version, and its answers are not those of the export"
    for question in _QUESTIONS:
        if fault := verdict[question]["first_fault"]:
            raise ValidationError(f"{wrong}: {question}, {_describe(fault)}.")
    if done.status:
        raise ValidationError(f"{wrong}.")
    return verdict


def _link_records(servable: Servable, work: Path) -> Path:
    """Return a directory with links to the golden records and to export.json, as the check expects them."""
    extra = work / "records" / names.ASSETS_EXTRA
    extra.mkdir(parents=True)
    (extra / names.GOLDEN_FILE).symlink_to(servable.golden.resolve())
    (extra / names.EXPORT_FILE).symlink_to((servable.directory / names.ASSETS_EXTRA / names.EXPORT_FILE).resolve())
    return extra.parent


def _describe(fault: Mapping[str, Any]) -> str:
    where = [f"{name} {fault[name]}" for name in ("signature", "k", "record") if fault.get(name) is not None]
    return f"{', '.join(where)}: {fault['message']}" if where else str(fault["message"])
