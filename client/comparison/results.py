"""The results of a comparison of two served versions."""

from dataclasses import dataclass, field

from client.samples.golden import Sample

EXACT_MATCH, F1 = "exact match", "F1"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may change from one version to the next; None means no limit.

    Labels may be added, removed or moved with `label_change`; other changes may break callers with `breaking_change`.
    """

    label_change: bool = False
    breaking_change: bool = False
    exact_match_drop: float | None = None
    f1_drop: float | None = None
    latency_ratio: float | None = None

    @property
    def needs_labels(self) -> bool:
        """Whether a limit needs samples with true labels."""
        return self.exact_match_drop is not None or self.f1_drop is not None

    @property
    def needs_samples(self) -> bool:
        """Whether a limit needs samples."""
        return self.needs_labels or self.latency_ratio is not None


@dataclass(frozen=True, kw_only=True)
class LabelChanges:
    """How the labels differ; a moved label has another index."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.moved)


@dataclass(frozen=True, kw_only=True)
class QualityChange:
    """One measure of quality, over all labeled samples or a slice.

    Attributes:
        metric: EXACT_MATCH or F1.
        slice: the name of the slice; empty for all labeled samples.
        low: the lower end of the 95% confidence interval of the drop.
        high: its upper end.
        allowed: the largest drop allowed; None if any drop is.
        passed: whether the whole interval is allowed; None if any drop is.
    """

    metric: str
    slice: str
    samples: int
    before: float
    after: float
    low: float
    high: float
    allowed: float | None
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class AnswerChanges:
    """How the answers differ. `changed_sets` is the share of samples for which other labels are kept, 0 to 1."""

    samples: int
    changed_sets: float
    largest_difference: float
    mean_difference: float


@dataclass(frozen=True, kw_only=True)
class LatencyChange:
    """The median latencies of single requests, sent to both versions in turn, and their ratio.

    `low` and `high` are the ends of the 95% confidence interval of the ratio. `calls` were made of each version.
    """

    calls: int
    before_ms: float
    after_ms: float
    ratio: float
    low: float
    high: float
    allowed: float | None
    passed: bool | None


@dataclass(frozen=True, kw_only=True)
class ChangedSample:
    """A sample for which the two versions keep other labels."""

    sample: Sample
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a candidate changes for the callers of the served version.

    Attributes:
        before: the served version.
        after: the candidate.
        breaking: what would break callers, other than labels; clauses without a period.
        quality: measured on labeled samples.
        answers: None if no samples were sent.
        latency: None if no samples were sent.
        stopped: why the candidate is stopped, by rule.
        notes: other sentences for the reader.
        changed: the samples for which other labels are kept. For a report; not part of the JSON.
    """

    passed: bool
    address: str
    model: str
    before: int
    after: int
    labels: LabelChanges
    breaking: tuple[str, ...]
    quality: tuple[QualityChange, ...] = ()
    answers: AnswerChanges | None = None
    latency: LatencyChange | None = None
    stopped: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    changed: tuple[ChangedSample, ...] = field(default=(), repr=False)
