"""The comparison with what is served, as `serving-client promote` makes and shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from client.cli import show
from client.cli.options import POSITIVE, F, Finite
from client.cli.samples import samples_for
from client.client import ServingClient
from client.comparison.compare import compare
from client.comparison.results import Comparison, Limits
from client.comparison.rows import HEADERS, rows, title
from client.comparison.sides import Side, interface_changes, read_side
from client.comparison.slices import read_slices
from client.errors import ServerError, UnreachableError
from client.promotion.plan import Move, PromoteError
from client.rpc.metadata import Target
from client.samples.golden import Sample

_SHARE = Finite(0, 1)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the options say about the comparison."""

    samples: tuple[Path, ...]
    slices: Path | None
    allow_label_change: bool
    allow_breaking_change: bool
    max_exact_match_drop: float | None
    max_f1_drop: float | None
    max_latency_ratio: float | None
    page: Path | None
    page_inputs: bool

    def __post_init__(self) -> None:
        for option, given in (
            ("--slices", self.slices),
            ("--max-exact-match-drop", self.max_exact_match_drop),
            ("--max-f1-drop", self.max_f1_drop),
        ):
            if given is not None and not self.samples:
                raise click.UsageError(f"{option} needs labeled samples: pass --samples.")
        if self.page_inputs and self.page is None:
            raise click.UsageError("--report-inputs is about the page: pass --report.")

    @property
    def limits(self) -> Limits:
        """What may change."""
        return Limits(
            label_change=self.allow_label_change,
            breaking_change=self.allow_breaking_change,
            exact_match_drop=self.max_exact_match_drop,
            f1_drop=self.max_f1_drop,
            latency_ratio=self.max_latency_ratio,
        )


_OPTIONS = (
    click.option(
        "--samples",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Samples to compare with, as predict takes them; repeatable. [default: the golden records]",
    ),
    click.option(
        "--slices",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help='Judge each of these slices too: {"SLICE": [SAMPLE, ...]} in JSON.',
    ),
    click.option("--allow-label-change", is_flag=True, help="Labels may be added, removed or moved."),
    click.option("--allow-breaking-change", is_flag=True, help="Signatures or inputs may change for callers."),
    click.option("--max-exact-match-drop", type=_SHARE, help="How much less the exact match may be, 0 to 1."),
    click.option("--max-f1-drop", type=_SHARE, help="How much less the F1 (micro) may be, 0 to 1."),
    click.option(
        "--max-latency-ratio",
        type=POSITIVE,
        help="How many times the median latency may be.",
    ),
    click.option("--report", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write an HTML page."),
    click.option("--report-inputs", "page_inputs", is_flag=True, help="Show in it what was sent."),
)


def comparison_options(command: F) -> F:
    """Give a command the options of `Wanted`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def taken_wanted(options: dict[str, Any]) -> Wanted:
    """Take what the comparison needs out of a command's options."""
    return Wanted(**{name: options.pop(name) for name in Wanted.__dataclass_fields__})


def comparison_of(
    client: ServingClient, move: Move, golden: Sequence[Sample], wanted: Wanted
) -> tuple[Comparison | None, str]:
    """Compare the version that a label is to have with the one that it has.

    Returns:
        The comparison, or None and a sentence that says why there is none.

    Raises:
        PromoteError: if the version that the label has cannot be asked, and may not be left unasked.
    """
    if move.old is None or move.old == move.new:
        has = "no version yet" if move.old is None else "this version already"
        return None, f"Version {move.new} was compared with no other: the label {move.label} has {has}."
    after = read_side(client, move.new)
    try:
        before = read_side(client, move.old)
    except UnreachableError:
        raise
    except ServerError as error:
        told = f"version {move.old}, which has the label {move.label}, cannot be asked at {client.address}: {error}"
        limits = wanted.limits
        if not (limits.label_change and limits.breaking_change) or limits.needs_samples:
            way = "to promote uncompared, pass --allow-label-change and --allow-breaking-change, and no other limits"
            raise PromoteError(f"{told}; {way}") from error
        return None, f"Version {move.new} was not compared: {told}."

    def samples_of(side: Side) -> tuple[Sample, ...]:
        if wanted.samples:
            return samples_for(client, Target(client.model, side.version), wanted.samples)
        return () if interface_changes(before, after) else tuple(golden)

    slices_of = None if wanted.slices is None else partial(read_slices, wanted.slices)
    return compare(client, before, after, samples_of, wanted.limits, slices_of), ""


def show_comparison(found: Comparison) -> None:
    """Print the comparison as a table, and what stops the candidate."""
    console = show.stdout_console()
    table = show.new_table(*HEADERS, "", title=title(found))
    for row in rows(found):
        table.add_row(*map(Text, row.cells), "" if row.passed is None else show.PASSED[row.passed])
    console.print(table)
    for sentence in found.notes:
        console.print(Text(sentence, "yellow"), soft_wrap=True)
    for sentence in found.stopped.values():
        console.print(Text(sentence, "bold red"), soft_wrap=True)
