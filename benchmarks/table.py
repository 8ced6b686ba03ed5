"""Rows as a table for a person."""

from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table

from benchmarks.reading import cells
from benchmarks.run import Run


def show(run: Run) -> None:
    """Print the rows of a run, and what was left out."""
    headers = ("case", "compared", "measured", "ratio", "spread", "medians", "rounds")
    table = Table(*(Column(header, overflow="fold") for header in headers))
    for row in run.rows:
        compared, *values = cells(asdict(row))
        table.add_row(row.case, compared, row.measure, *values, str(row.pairs))
    console = Console()
    console.print(table)
    for note in run.notes:
        console.print(note, highlight=False, soft_wrap=True)
