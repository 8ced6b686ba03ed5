"""The comparison with the served version that `serving-client promote` makes and shows."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from client.cli import show
from client.cli.options import POSITIVE, Finite, all_of
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
    """The options of the comparison."""

    samples: tuple[Path, ...]
    slices: Path | None
    limits: Limits
    page: Path | None
    page_inputs: bool

    def __post_init__(self) -> None:
        for option, given in (
            ("--slices", self.slices),
            ("--max-exact-match-drop", self.limits.exact_match_drop),
            ("--max-f1-drop", self.limits.f1_drop),
        ):
            if given is not None and not self.samples:
                raise click.UsageError(f"{option} needs labeled samples: pass --samples.")
        if self.page_inputs and self.page is None:
            raise click.UsageError("--report-inputs is about the page: pass --report.")


comparison_options = all_of(
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
    click.option("--allow-label-change", "label_change", is_flag=True, help="Labels may be added, removed or moved."),
    click.option(
        "--allow-breaking-change", "breaking_change", is_flag=True, help="Signatures or inputs may change for callers."
    ),
    click.option(
        "--max-exact-match-drop", "exact_match_drop", type=_SHARE, help="How far the exact match may drop, 0 to 1."
    ),
    click.option("--max-f1-drop", "f1_drop", type=_SHARE, help="How far the F1 (micro) may drop, 0 to 1."),
    click.option(
        "--max-latency-ratio", "latency_ratio", type=POSITIVE, help="How many times as long the median latency may be."
    ),
    click.option("--report", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write an HTML page."),
    click.option("--report-inputs", "page_inputs", is_flag=True, help="Show the inputs in the report, too."),
)


def take_wanted(options: dict[str, Any]) -> Wanted:
    """Remove the comparison's options from a command's options and return them."""
    limits = Limits(**{limit.name: options.pop(limit.name) for limit in fields(Limits)})
    return Wanted(limits=limits, **{name: options.pop(name) for name in ("samples", "slices", "page", "page_inputs")})


def comparison_of(
    client: ServingClient, move: Move, golden: Sequence[Sample], wanted: Wanted
) -> tuple[Comparison | None, str]:
    """Compare the version that a label moves to with its current version.

    Returns:
        The comparison, or None and a sentence that says why there was none.

    Raises:
        PromoteError: if the label's current version does not answer, and the options do not allow for that.
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
        reason = f"version {move.old}, which has the label {move.label}, does not answer at {client.address}: {error}"
        limits = wanted.limits
        if not (limits.label_change and limits.breaking_change) or limits.needs_samples:
            way = "to promote uncompared, pass --allow-label-change and --allow-breaking-change, and no other limits"
            raise PromoteError(f"{reason}; {way}") from error
        return None, f"Version {move.new} was not compared: {reason}."

    def samples_of(side: Side) -> tuple[Sample, ...]:
        if wanted.samples:
            return samples_for(client, Target(client.model, side.version), wanted.samples)
        return () if interface_changes(before, after) else tuple(golden)

    slices_of = None if wanted.slices is None else partial(read_slices, wanted.slices)
    return compare(client, before, after, samples_of, wanted.limits, slices_of), ""


def show_comparison(found: Comparison) -> None:
    """Print the comparison as a table, and the reasons that stop the candidate."""
    console = show.stdout_console()
    table = show.new_table(*HEADERS, "", title=title(found))
    for row in rows(found):
        table.add_row(*map(Text, row.cells), "" if row.passed is None else show.PASSED[row.passed])
    console.print(table)
    for sentence in found.notes:
        console.print(Text(sentence, "yellow"), soft_wrap=True)
    for sentence in found.stopped.values():
        console.print(Text(sentence, "bold red"), soft_wrap=True)
