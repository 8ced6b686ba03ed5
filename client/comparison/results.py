"""What a comparison of two served versions found."""

from dataclasses import dataclass, field

from client.samples.golden import Sample

EXACT_MATCH, F1 = "exact match", "F1"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What may change from one version to the next; None limits nothing.

    Attributes:
        label_change: whether labels may be added, removed or moved.
        breaking_change: whether the candidate may break callers in other ways.
        exact_match_drop: how much less the exact match may be, 0 to 1.
        f1_drop: how much less the F1 may be, 0 to 1.
        latency_ratio: how many times the latency may be.
    """

    label_change: bool = False
    breaking_change: bool = False
    exact_match_drop: float | None = None
    f1_drop: float | None = None
    latency_ratio: float | None = None

    @property
    def needs_labels(self) -> bool:
        """Whether a limit is on what only samples with true labels show."""
        return self.exact_match_drop is not None or self.f1_drop is not None

    @property
    def needs_samples(self) -> bool:
        """Whether a limit is on what only samples show."""
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
    """One measure of quality, of all labeled samples or of a slice.

    Attributes:
        metric: EXACT_MATCH or F1.
        slice: the name of the slice; empty for all labeled samples.
        samples: how many samples were judged.
        before: the value of the version that is served.
        after: the value of the candidate.
        low: the lower end of the interval that holds the drop with 95% confidence.
        high: its upper end.
        allowed: the drop that is allowed; None for any.
        passed: whether the drop is within what is allowed, with that confidence; None if any is allowed.
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
    """How the answers differ, labeled samples and others alike.

    Attributes:
        samples: how many samples were sent.
        changed_sets: the share of them for which other labels are kept, 0 to 1.
        largest_difference: the largest difference of a score.
        mean_difference: the mean difference of the scores.
    """

    samples: int
    changed_sets: float
    largest_difference: float
    mean_difference: float


@dataclass(frozen=True, kw_only=True)
class LatencyChange:
    """How long single requests took, those to both versions in turn.

    Attributes:
        calls: how many calls of each version were measured.
        before_ms: the median of the version that is served.
        after_ms: the median of the candidate.
        ratio: the second by the first.
        low: the lower end of the interval that holds the ratio with 95% confidence.
        high: its upper end.
        allowed: the ratio that is allowed; None for any.
        passed: whether the ratio is within what is allowed; None if any is allowed.
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
    """What a candidate changes for the callers of the version that is served.

    Attributes:
        passed: whether nothing stops it.
        address: the server that was asked.
        model: the model.
        before: the version that is served.
        after: the candidate.
        labels: how the labels differ.
        breaking: what else would break callers, a sentence each without a full stop.
        quality: measured on labeled samples.
        answers: None if no samples were sent.
        latency: None if no samples were sent.
        stopped: why the candidate is stopped, by rule.
        notes: what the reader should know, a sentence each.
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
