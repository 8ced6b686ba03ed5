"""`serving-client history`."""

from collections.abc import Sequence
from pathlib import Path

import click
from rich.text import Text

from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import as_json_option, show_or_print, utf8
from client.promotion.history import MOVED, Entry, history_file, read_history


@click.command(cls=ConnectedCommand)
@click.option(
    "--config", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The models.config of the moves."
)
@click.option("--label", callback=utf8, help="Show the moves of this label only.")
@as_json_option
@click.pass_obj
def history(connection: Connection, config: Path, label: str | None, as_json: bool) -> None:
    """Show which labels were moved, when and by whom, the newest last; with --model, only those of this model.

    This asks no server.
    """
    found = [
        entry
        for entry in read_history(config)
        if connection.model in (None, entry.model) and label in (None, entry.label)
    ]
    show_or_print({"history": [entry.as_json() for entry in found]}, as_json, lambda: _show(config, found))


def _show(config: Path, found: Sequence[Entry]) -> None:
    if not found:
        click.echo(f"{history_file(config)} has no moves like that.")
        return
    table = show.new_table("time", "who", "model", "label", "from", "to", "outcome", "export", "message")
    for entry in found:
        color = "green" if entry.outcome == MOVED else "yellow"
        message = f"{entry.message} ({entry.error})".strip() if entry.error else entry.message
        table.add_row(
            entry.time,
            Text(f"{entry.user}@{entry.host}"),
            Text(entry.model),
            Text(entry.label),
            "" if entry.old is None else str(entry.old),
            str(entry.new),
            Text(entry.outcome or "was not finished", color),
            Text(_origin(entry)),
            Text(message),
        )
    show.stdout_console().print(table)


def _origin(entry: Entry) -> str:
    """Return the commit of the new version's export, or else the id of the export, shortened."""
    return str(entry.export.get("git_commit") or entry.export.get("export_id") or "")[:12]
