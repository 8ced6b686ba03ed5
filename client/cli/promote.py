"""`serving-client promote` and `serving-client rollback`."""

from pathlib import Path
from typing import Any

import click

from client.cli import show
from client.cli.options import Connection, F, as_json_option, show_or_print, tolerance_options, tolerances_of
from client.promotion.move import carry_out, check_version, describe, plan, previous_version, version_directory
from client.samples.golden import read_golden


def _label_options(command: F) -> F:
    for option in (
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
        click.option("--label", required=True, help="The label to move."),
    ):
        command = option(command)
    return command


@click.command()
@click.option("--version", required=True, type=click.IntRange(min=0), help="The version to move the label to.")
@_label_options
@tolerance_options
@as_json_option
@click.pass_obj
def promote(connection: Connection, /, version: int, **options: Any) -> int:
    """Move a version label: in the file, then on every server; all or nothing.

    The version must be loaded already. It is checked by its number first; status 1 when it fails, with nothing changed.
    """
    return _move(connection, version, **options)


@click.command()
@_label_options
@tolerance_options
@as_json_option
@click.pass_obj
def rollback(connection: Connection, /, **options: Any) -> int:
    """Move a version label back to the version that had it before the last promote."""
    version = previous_version(options["config"], connection.required_model(), options["label"])
    return _move(connection, version, **options)


def _move(
    connection: Connection,
    version: int,
    *,
    label: str,
    config: Path,
    golden: Path | None,
    yes: bool,
    gpu: bool,
    rtol: float | None,
    atol: float | None,
    as_json: bool,
) -> int:
    move = plan(config, connection.required_model(), label, version)
    reference = read_golden(golden or version_directory(move))
    clients = [connection.open(address) for address in connection.addresses()]
    try:
        with show.waiting(", ".join(client.address for client in clients)):
            results = check_version(clients, move, reference, tolerances_of(gpu, rtol, atol))
        for line in describe(move, [client.address for client in clients]):
            click.echo(line, err=True)
        value = {"label": label, "from": move.old, "to": version, "config": str(config), "checks": results}
        if not all(result.passed for result in results):
            show_or_print({"moved": False} | value, as_json, lambda: show.checks(results))
            click.echo("Nothing was changed.", err=True)
            return 1
        if not yes and not click.confirm("Do it?", err=True):
            show_or_print({"moved": False} | value, as_json, lambda: None)
            return 1
        carry_out(clients, move)
        done = f"The label {label} is on version {version}, in {config} and at every address."
        show_or_print({"moved": True} | value, as_json, lambda: click.echo(done))
    finally:
        for client in clients:
            client.close()
    return 0
