"""`serving-client verify`."""

from pathlib import Path
from typing import Any

import click

from client.cli.options import as_json_option, show_or_print
from client.promotion.verify import Verification
from client.promotion.verify import verify as run_verify


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@as_json_option
def verify(directory: Path, as_json: bool) -> int:
    """Compare the files of a version, DIR, with their checksums in its export.json; status 1 if they differ.

    This asks no server.
    """
    result = run_verify(directory)
    show_or_print(verification_as_json(result), as_json, lambda: show_verification(result))
    return 0 if result.passed else 1


def verification_as_json(result: Verification) -> dict[str, Any]:
    """Return what --json prints."""
    return {"passed": result.passed} | {name: getattr(result, name) for name in result.__dataclass_fields__}


def show_verification(result: Verification) -> None:
    """Print what differs, a line for each file."""
    for what, names in (("changed", result.changed), ("missing", result.missing), ("added", result.added)):
        for name in names:
            click.echo(f"{what}  {_printable(name)}")
    for name, reason in result.unreadable.items():
        click.echo(f"could not be read  {_printable(name) or '.'}: {reason}")
    if result.passed:
        click.echo(f"{result.directory} is as exported: {result.intact} files compared.")
    else:
        click.echo(f"{result.directory} is not as exported; {result.intact} of its files are.")
    origin = {name.replace("_", " "): result.origin[name] for name in ("git_commit", "source_digest")}
    for name, value in {**origin, **result.origin["metadata"]}.items():
        if value is not None:
            click.echo(f"{_printable(name)}: {_printable(value)}")


def _printable(name: str) -> str:
    """Return a file's name with control characters and bytes that are not UTF-8 escaped."""
    text = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
