"""One run of a part: which of its cases are wanted, what was measured, and what was left out."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from benchmarks.ratios import Measured, Turn, ratio_of, take_turns

TIME = {"time": "ms"}


@dataclass(frozen=True)
class Row:
    """One line of the results: `what` over `against`, or a share of `what` alone.

    Attributes:
        case: the name by which `--case` measures it alone, with the other rows of the case.
        measure, unit: what was measured.
        what, against: the two sides. A share is compared with nothing: its other side is empty.
        ratio, low, high, pairs, ours, other: see `benchmarks.ratios.Ratio`. Of a share, the median is the ratio, and
            the smallest and the largest of all rounds are low and high.
        at: the numbers that tell this case from the others, such as the labels, for plots.
        command: measures this row.
    """

    case: str
    measure: str
    unit: str
    what: str
    against: str
    ratio: float
    low: float
    high: float
    pairs: int
    ours: float
    other: float | None
    at: Mapping[str, float]
    command: str


@dataclass
class Run:
    """A run of one part.

    Attributes:
        part: the part's name.
        case: measure only this case; by default all.
        pairs, seconds: upper limits for each case, below those of the part itself.
        address: a server that is up and serves what `python -m benchmarks models` wrote; by default one is started.
        rows: what was measured.
        notes: a sentence for each thing that was left out.
        cases: the names of the part's cases that were asked for with `wants`.
    """

    part: str
    case: str = ""
    pairs: int = 1_000_000
    seconds: float = 1e9
    address: str = ""
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cases: list[str] = field(default_factory=list)

    def wants(self, case: str) -> bool:
        """Return whether to measure a case."""
        self.cases.append(case)
        return self.case in ("", case)

    def note(self, sentence: str) -> None:
        """Say what was left out, and why."""
        self.notes.append(sentence)

    def compare(
        self,
        case: str,
        works: Mapping[str, Turn],
        measures: Mapping[str, str] = TIME,
        at: Mapping[str, float] | None = None,
        *,
        sides: Sequence[tuple[str, str]] | None = None,
        pairs: int = 200,
        seconds: float = 4.0,
    ) -> None:
        """Let works take turns, and add a row for each measure of two of them.

        Args:
            case: the case's name.
            works: what takes turns, by name. Each returns the same measures.
            measures: the measures to report, with their units.
            at: the numbers that tell this case from the others.
            sides: who is compared with whom; by default the first with each other.
            pairs: how many rounds there are at most.
            seconds: after this time no round begins.
        """
        found = take_turns(works, min(pairs, self.pairs), min(seconds, self.seconds))
        first, *others = works
        for what, against in sides or [(first, other) for other in others]:
            for measure, unit in measures.items():
                self.add(case, measure, unit, (what, found[what]), (against, found[against]), at)

    def add(
        self,
        case: str,
        measure: str,
        unit: str,
        ours: tuple[str, Sequence[Measured]],
        other: tuple[str, Sequence[Measured]],
        at: Mapping[str, float] | None = None,
    ) -> None:
        """Add the row of one measure of two sides that took turns."""
        (what, mine), (against, theirs) = ours, other
        ratio = ratio_of([one[measure] for one in mine], [one[measure] for one in theirs])
        self.rows.append(
            Row(case, measure, unit, what, against, **asdict(ratio), at=dict(at or {}), command=self._command(case)),
        )

    def add_shares(
        self, case: str, measure: str, found: Mapping[str, Sequence[Measured]], at: Mapping[str, float]
    ) -> None:
        """Add a row for the share, from 0 to 1, that each of some works has measured.

        A share may be 0, so nothing can be divided by it.
        """
        for what, measured in found.items():
            shares = [one[measure] for one in measured]
            middle = median(shares)
            row = Row(
                case=case,
                measure=measure,
                unit="",
                what=what,
                against="",
                ratio=middle,
                low=min(shares),
                high=max(shares),
                pairs=len(shares),
                ours=middle,
                other=None,
                at=dict(at),
                command=self._command(case),
            )
            self.rows.append(row)

    def _command(self, case: str) -> str:
        return f'python -m benchmarks {self.part} --case "{case}"'

    def as_json(self) -> dict[str, Any]:
        """Return what was measured, as the results have it."""
        return {"notes": self.notes, "rows": [asdict(row) for row in self.rows]}
