"""What a qualification has found."""

from dataclasses import dataclass
from datetime import datetime

from client.qualify.deviation import HEADROOM, SizeDeviation
from client.qualify.facts import MetricFacts, ServerFacts
from client.qualify.points import Point
from client.qualify.recommend import Recommendation
from client.qualify.versions import VersionRatio
from signatures.contract.tolerances import Tolerances


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The rate of a short window, 0 where calls failed."""

    batch: int
    callers: int
    examples_per_second: float


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What was measured under load, and what follows from it.

    Attributes:
        window_seconds: how long each window took.
        screened: the rates that guided the search.
        search_windows: how many windows the search took.
        best: the highest throughput that was measured.
        points: what was measured until it settled, or until the time was up.
        complete: whether there was time for every point.
        versions: other versions against this one.
        recommendation: options of `export-model`; None if there are none to recommend.
    """

    window_seconds: float
    screened: tuple[Screened, ...]
    search_windows: float
    best: Point | None
    points: tuple[Point, ...]
    complete: bool
    versions: tuple[VersionRatio, ...]
    recommendation: Recommendation | None


@dataclass(frozen=True, kw_only=True)
class Qualification:
    """What one server can do with a model, and what follows from it.

    Attributes:
        passed: whether what is served is the export, as far as its identity and its scores tell, and the bound can be
            kept.
        when: when it ended, in ISO 8601 (UTC).
        address: the server.
        model: the model.
        server: what the server tells of itself.
        metrics: what its metrics tell, after the load.
        deviation: the deviations of dense scores by batch size.
        headroom: how many times the deviation the tolerances are.
        tolerances: what a check needs on this hardware, for `check --tolerances`; None if the scores are too far off.
        load: what was measured under load.
        faults: why it has not passed, in sentences.
        notes: what limits the results, in sentences.
    """

    passed: bool
    when: str
    address: str
    model: str
    server: ServerFacts
    metrics: MetricFacts
    deviation: tuple[SizeDeviation, ...]
    tolerances: Tolerances | None
    load: LoadResult
    faults: tuple[str, ...]
    notes: tuple[str, ...]
    headroom: float = HEADROOM

    @property
    def title(self) -> str:
        """One line about it."""
        return f"Qualification of {self.model}, version {self.server.version}"

    @property
    def time(self) -> datetime:
        """When it ended."""
        return datetime.fromisoformat(self.when)
