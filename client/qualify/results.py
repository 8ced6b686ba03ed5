"""The results of a qualification."""

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
        screened: the rates that guided the search.
        search_windows: how many windows the search took.
        best: the point with the highest throughput.
        complete: whether there was time for every point.
        versions: other versions compared with this one.
        recommendation: None if no settings can be recommended.
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
    """What one server can do with a model: the content of qualification.json.

    Attributes:
        passed: whether the server serves the export, judged by its identity and scores, and can keep the bound on p99.
        when: when the run ended, in ISO 8601 (UTC).
        headroom: the tolerances are this many times the largest deviation.
        tolerances: what `check --tolerances` uses on this hardware; None if the scores are too far off.
        faults: why it did not pass, in sentences.
        notes: the limits of the results, in sentences.
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
        """The title of its page."""
        return f"Qualification of {self.model}, version {self.server.version}"

    @property
    def time(self) -> datetime:
        """When it ended."""
        return datetime.fromisoformat(self.when)
