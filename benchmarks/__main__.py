"""`python -m benchmarks`: all parts, or one of them, or the page from results that are there."""

import importlib
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.run import Run
from benchmarks.table import show

PARTS = ("head", "served", "export", "check", "client", "batching", "growth")


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """Measure what the README and the docs claim. Without a command: all parts, their plots and the page."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if context.invoked_subcommand is None:
        context.invoke(everything)


@main.command("all")
@click.argument("parts", type=click.Choice(PARTS), nargs=-1)
@click.option("--pairs", type=click.IntRange(min=1), help="The most pairs of each case.")
@click.option("--seconds", type=click.FloatRange(min=0), help="The most seconds of each case.")
def everything(parts: tuple[str, ...] = (), pairs: int | None = None, seconds: float | None = None) -> None:
    """Measure PARTS, by default all, and write the results, the plots and the page."""
    from benchmarks.results import FILE, measure_parts
    from benchmarks.site import write_site

    failed = measure_parts(parts or PARTS, pairs, seconds)
    write_site(json.loads(FILE.read_text("utf-8")))
    sys.exit(1 if failed else 0)


@main.command()
def page() -> None:
    """Write the plots and the page again, from the results that are there."""
    from benchmarks.results import FILE
    from benchmarks.site import write_site

    write_site(json.loads(FILE.read_text("utf-8")))


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
def models(folder: Path) -> None:
    """Write the models of the part `served` to FOLDER, with a models.config for a server."""
    from benchmarks.models import served_models
    from benchmarks.parts.served import write
    from benchmarks.servers import models_config

    if folder.exists() and any(folder.iterdir()):
        raise click.UsageError(f"{folder} is not empty: name a folder that is, or does not exist.")
    (folder / "models.config").write_text(models_config(write(served_models(), folder)))


def _part_command(part: str) -> click.Command:
    @click.command(part, help=f"Measure the part {part}, and show its rows.")
    @click.option("--case", default="", help="Only this case, by its name in the table.")
    @click.option("--pairs", type=click.IntRange(min=1), default=Run.pairs, help="The most pairs of each case.")
    @click.option("--seconds", type=click.FloatRange(min=0), default=Run.seconds, help="The most seconds of each.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
    def command(case: str, pairs: int, seconds: float, as_json: bool, address: str = "") -> None:
        run = Run(part, case, pairs, seconds, address)
        _measure(run)
        if case not in ("", *run.cases):
            raise click.UsageError(f"{part} has no case {case!r}, but it has: {'; '.join(run.cases)}.")
        if as_json:
            print(json.dumps(run.as_json()))
        else:
            show(run)

    if part == "served":
        address = click.option("--address", default="", help="A server that serves what `models` wrote.")
        command = address(command)
    return command


def _measure(run: Run) -> None:
    """Measure a part, or end with one sentence and status 1."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    folder = Path(tempfile.mkdtemp(prefix="benchmarks-"))
    try:
        importlib.import_module(f"benchmarks.parts.{run.part}").measure(run, folder)
    except Exception as error:  # Whatever it is, the other parts go on.
        sentence = " ".join(str(error).split()) or type(error).__name__
        raise click.ClickException(f"the part {run.part} failed: {sentence}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


for _part in PARTS:
    main.add_command(_part_command(_part))

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
