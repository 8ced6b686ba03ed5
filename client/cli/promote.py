"""`serving-client promote` and `serving-client rollback`."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import F, as_json_option, show_or_print, tolerance_options, tolerances_of, utf8
from client.promotion.move import carry_out, check_version, entry_of
from client.promotion.plan import Move, describe, plan, plan_back, version_directory
from client.samples.golden import read_golden


def _label_options(command: F) -> F:
    for option in (
        click.option("--message", callback=utf8, default="", help="Why, for the history."),
        click.option("--yes", is_flag=True, help="Do not ask."),
        click.option(
            "--golden",
            type=click.Path(path_type=Path),
            metavar="PATH",
            help="The version's directory or golden file; the one below the file's base_path if left out.",
        ),
        click.option(
            "--config",
            required=True,
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="The models.config that the servers were started with.",
        ),
        click.option("--label", required=True, callback=utf8, help="The label to move."),
    ):
        command = option(command)
    return command


@click.command(cls=ConnectedCommand)
@click.option("--version", required=True, type=click.IntRange(min=0), help="The version to move the label to.")
@click.option("--create-label", is_flag=True, help="The label may be a new one.")
@_label_options
@tolerance_options
@as_json_option
@click.pass_obj
def promote(connection: Connection, /, version: int, **options: Any) -> int:
    """Move a version label: in the file, then on every server; all or nothing.

    The version must be loaded already. It is checked by its number first; status 1 when it fails, with nothing changed.
    """
    return _move(connection, plan(options["config"], connection.required_model(), options["label"], version), **options)


@click.command(cls=ConnectedCommand)
@_label_options
@tolerance_options
@as_json_option
@click.pass_obj
def rollback(connection: Connection, /, **options: Any) -> int:
    """Move a label back to the version that it had before; status 1 when there is nothing to go back to.

    Moves of other labels and models do not matter. A second rollback goes further back.
    """
    return _move(connection, plan_back(options["config"], connection.required_model(), options["label"]), **options)


def _move(
    connection: Connection,
    move: Move,
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
    reference = read_golden(golden or version_directory(move))
    clients = [connection.open(address) for address in connection.addresses()]
    try:
        with show.waiting(", ".join(client.address for client in clients)):
            results = check_version(clients, move, reference, tolerances_of(gpu, rtol, atol))
        told = describe(move, [client.address for client in clients])
        value = {"label": label, "from": move.old, "to": move.new, "config": str(config), "checks": results}
        if not all(result.passed for result in results):
            show_or_print({"moved": False} | value, as_json, lambda: show.checks(results))
            print("Nothing was changed.", file=sys.stderr)
            return 1
        for line in (*(f"{result.address}: {show.verdict(result)}" for result in results), *told):
            print(line, file=sys.stderr)
        if not yes and not click.confirm("Do it?", err=True):
            show_or_print({"moved": False} | value, as_json, lambda: None)
            return 1
        verdict = " ".join(dict.fromkeys(map(show.verdict, results)))
        carry_out(clients, move, replace(entry_of(move, clients), verdict=verdict, message=message))
        moved = move.old != move.new
        done = f"The label {label} {'is' if moved else 'was'} on version {move.new}{'' if moved else ' already'}"
        show_or_print({"moved": moved} | value, as_json, lambda: print(f"{done}, in {config} and at every address."))
    finally:
        for client in clients:
            client.close()
    return 0


def _require_consent(move: Move, yes: bool, create_label: bool) -> None:
    """Raise click.UsageError unless a person can be asked, or options have answered all questions."""
    if not yes and not (sys.stdin and sys.stdin.isatty()):
        raise click.UsageError("this asks before it changes anything, and there is no terminal to ask at: pass --yes.")
    if yes and move.old is None and not create_label:
        there = ", ".join(move.others) or "none so far"
        raise click.UsageError(
            f"model {move.model} has no label {move.label} in {move.config} (it has {there}): "
            "pass --create-label to add it."
        )
