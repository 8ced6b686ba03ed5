"""`serving-client promote` and `serving-client rollback`."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from client.check.report import server_section
from client.cli import show
from client.cli.comparison import Wanted, comparison_of, comparison_options, show_comparison, take_wanted
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import all_of, as_json_option, show_or_print, tolerance_options, tolerances_of, utf8
from client.cli.verify import show_verification, verification_as_json
from client.client import ServingClient
from client.comparison.page import comparison_section
from client.page import page
from client.promotion.evidence import Evidence, evidence_of_files
from client.promotion.move import carry_out, check_version, entry_of
from client.promotion.plan import Move, describe, plan, plan_back, version_directory
from client.samples.golden import read_golden
from signatures.contract.tolerances import Tolerances

_label_options = all_of(
    click.option("--label", required=True, callback=utf8, help="The label to move."),
    click.option(
        "--config",
        required=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The models.config that the servers were started with.",
    ),
    click.option(
        "--golden",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The version's directory or golden file; the one below the file's base_path if left out.",
    ),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
    click.option("--message", callback=utf8, default="", help="The reason for the move, for the history."),
)


@click.command(cls=ConnectedCommand)
@click.option("--version", required=True, type=click.IntRange(min=0), help="The version to move the label to.")
@click.option("--create-label", is_flag=True, help="The label may be new.")
@_label_options
@comparison_options
@tolerance_options
@as_json_option
@click.pass_obj
def promote(connection: Connection, /, version: int, **options: Any) -> int:
    """Move a version label: in the file, then on every server; all or nothing.

    The version must be loaded already. Its files are verified if they are found, it is checked by its number on every
    server, and compared with the version that has the label; status 1 if one of these fails, with nothing changed.
    """
    wanted = take_wanted(options)
    move = plan(options["config"], connection.required_model(), options["label"], version)
    return _move(connection, move, wanted, **options)


@click.command(cls=ConnectedCommand)
@_label_options
@tolerance_options
@as_json_option
@click.pass_obj
def rollback(connection: Connection, /, **options: Any) -> int:
    """Move a label back to the version that it had before; status 1 when there is nothing to go back to.

    Moves of other labels and models do not matter. A second rollback goes further back.
    """
    move = plan_back(options["config"], connection.required_model(), options["label"])
    return _move(connection, move, None, **options)


def _move(
    connection: Connection,
    move: Move,
    wanted: Wanted | None,
    *,
    label: str,
    config: Path,
    golden: Path | None,
    message: str,
    yes: bool,
    gpu: bool,
    rtol: float | None,
    atol: float | None,
    as_json: bool,
    create_label: bool = False,
) -> int:
    _require_consent(move, yes, create_label)
    tolerances = tolerances_of(gpu, rtol, atol)
    clients = [connection.open(address) for address in connection.addresses()]
    try:
        with show.waiting(", ".join(client.address for client in clients)):
            found = _evidence(clients, move, wanted, golden, tolerances)
        if wanted is not None and wanted.page is not None:
            _write_page(wanted.page, found, wanted.page_inputs)
        value = {"label": label, "from": move.old, "to": move.new, "config": str(config), **_as_json(found)}
        if not found.passed:
            show_or_print({"moved": False} | value, as_json, lambda: _show_refusal(found))
            print("Nothing was changed.", file=sys.stderr)
            return 1
        if found.comparison is not None and not as_json:
            show_comparison(found.comparison)
        for line in (*_sentences(found), *describe(move, [client.address for client in clients])):
            print(line, file=sys.stderr)
        if not yes and not click.confirm("Do it?", err=True):
            show_or_print({"moved": False} | value, as_json, lambda: None)
            return 1
        verdicts = " ".join(dict.fromkeys(result.verdict for result in found.checks))
        entry = replace(entry_of(move, clients), verdict=verdicts, message=message, export=found.export)
        carry_out(clients, move, entry)
        moved = move.old != move.new
        done = f"The label {label} {'is' if moved else 'was'} on version {move.new}{'' if moved else ' already'}"
        show_or_print({"moved": moved} | value, as_json, lambda: print(f"{done}, in {config} and at every address."))
    finally:
        for client in clients:
            client.close()
    return 0


def _evidence(
    clients: Sequence[ServingClient], move: Move, wanted: Wanted | None, golden: Path | None, tolerances: Tolerances
) -> Evidence:
    """Verify the files of the new version, check it at every address, and compare it with the old one."""
    directory = golden if golden is not None and golden.is_dir() else version_directory(move)
    found = evidence_of_files(directory, verified=wanted is not None)
    if not found.passed:
        return found
    reference = read_golden(golden or directory)
    found = replace(found, checks=tuple(check_version(clients, move, reference, tolerances)))
    if wanted is None or not found.passed:
        return found
    comparison, note = comparison_of(clients[0], move, reference.samples, wanted)
    return replace(found, comparison=comparison, notes=(*found.notes, *([note] if note else [])))


def _as_json(found: Evidence) -> dict[str, Any]:
    return {
        "verified": None if found.verification is None else verification_as_json(found.verification),
        "checks": found.checks,
        "compared": found.comparison,
        "notes": found.notes,
    }


def _sentences(found: Evidence) -> Iterator[str]:
    yield from found.notes
    if found.verification is not None:
        yield f"{found.verification.directory}: {found.verification.intact} files are as exported."
    for result in found.checks:
        yield f"{result.address}: {result.verdict}"


def _show_refusal(found: Evidence) -> None:
    if found.verification is not None and not found.verification.passed:
        show_verification(found.verification)
    show.checks([result for result in found.checks if not result.passed])
    if found.comparison is not None:
        show_comparison(found.comparison)


def _write_page(file: Path, found: Evidence, inputs: bool) -> None:
    compared = [] if found.comparison is None else [comparison_section(found.comparison, inputs)]
    checked = [server_section(number, result, inputs) for number, result in enumerate(found.checks)]
    title = f"Promotion: {'passed' if found.passed else 'stopped'}"
    file.write_text(page(title, datetime.now(UTC), [*compared, *checked]), "utf-8")


def _require_consent(move: Move, yes: bool, create_label: bool) -> None:
    """Raise click.UsageError unless a person can confirm, or options already have."""
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError("this needs a confirmation, and there is no terminal to ask for it: pass --yes.")
    if yes and move.old is None and not create_label:
        there = ", ".join(move.others) or "none so far"
        raise click.UsageError(
            f"model {move.model} has no label {move.label} in {move.config} (it has {there}): "
            "pass --create-label to add it."
        )
