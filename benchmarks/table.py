"""Rows as a table for a person."""

from rich.console import Console
from rich.table import Table

from benchmarks.reading import number
from benchmarks.run import Run


def show(run: Run) -> None:
    """Print the rows of a run, and what was left out."""
    table = Table("case", "measured", "compared", "ratio", "spread", "medians", "pairs")
    for row in run.rows:
        table.add_row(
            row.case,
            row.measure,
            f"{row.what} / {row.against}",
            number(row.ratio),
            f"{number(row.low)} to {number(row.high)}",
            f"{number(row.ours)} / {number(row.other)} {row.unit}",
            str(row.pairs),
        )
    console = Console()
    console.print(table)
    for note in run.notes:
        console.print(note, highlight=False, soft_wrap=True)
