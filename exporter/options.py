"""The options of an export, besides the model and k."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import ExportError
from exporter.server_images import DEFAULT_IMAGE
from exporter.thresholds import Thresholds, check_limits
from signatures import Batching

# The most examples that validation and a client's check put into one request.
_LEAST_REQUEST = 16


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How the exported model computes, how it is validated and how it is published.

    Attributes:
        signatures: the signatures to export; by default all that the model can have.
        batching: merge requests into shared runs of the backbone inside the graph, with these sizes and times.
        server_batching: let the server merge requests, with these sizes and times.
        min_score: the lowest score that an answer keeps if a request does not say. 0 bounds nothing.
        thresholds: the lowest score that an answer keeps for each label, by label, or one number for all labels.
        fit_thresholds: fit them on the labeled samples instead: "f1", "precision=0.9" or "recall=0.9".
        precision: what the backbone computes in, one of `exporter.writing.precision.CHOICES`; by default what the
            model computes in.
        max_deviation: fail if `precision` changes a score by more; by default as in `exporter.writing.precision`.
        max_changed_sets: fail if `precision` changes the kept labels of a larger share of the samples, 0 to 1; by
            default as in `exporter.writing.precision`.
        jit_compile: let XLA compile the backbone. The server then needs a flag, which the files in `deploy/` set.
        image: the server's image; an image that cannot serve the export is refused.
        allow_older_image: export for such an image anyway.
        require_gpu_kernels: refuse a backbone with an op that has no GPU kernel.
        min_exact_match: fail if all labels are right for a smaller share of the labeled samples, 0 to 1.
        min_f1: fail if the micro-averaged F1 on labeled samples is lower, 0 to 1.
        golden_megabytes: the largest size of the golden records, in 10^6 bytes; they begin with the first samples.
        golden_output: write the golden records to this file instead, and only their digest into the version.
        version: the version's number; by default the next.
        keep: remove all versions except this many of the newest and those that `deploy/models.config` names.
        forbid_breaking_changes: refuse to publish a version that would break callers of the newest published one.
        keep_failed: keep a version that fails validation.
        metadata: what to record about the export, by name.
        serving_root: where the server will see the output directory.
        dry_run: do everything but publish.
        validate_on: servers to validate the staged version on, each as "docker", "podman", "kubectl", "docker:IMAGE" or
            the path of a tensorflow_model_server; see `exporter.validation.on_server`.

    Raises:
        ExportError: when an option is out of range, or two contradict each other.

    Example:
        >>> ExportOptions(precision="mixed_float16", server_batching=Batching(max_batch_size=8)).warmup_sizes
        (1, 2, 4, 8)
    """

    signatures: Sequence[str] | None = None
    batching: Batching | None = None
    server_batching: Batching | None = None
    min_score: float = 0.0
    thresholds: Thresholds | None = None
    fit_thresholds: str | None = None
    precision: str | None = None
    max_deviation: float | None = None
    max_changed_sets: float | None = None
    jit_compile: bool = False
    image: str = DEFAULT_IMAGE
    allow_older_image: bool = False
    require_gpu_kernels: bool = False
    min_exact_match: float | None = None
    min_f1: float | None = None
    golden_megabytes: float = 8.0
    golden_output: Path | None = None
    version: int | None = None
    keep: int | None = None
    forbid_breaking_changes: bool = False
    keep_failed: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    serving_root: str = "/models"
    dry_run: bool = False
    validate_on: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.serving_root.startswith("/"):
            raise ExportError(f"The serving root is {self.serving_root!r}; use an absolute path, as in /models.")
        if self.batching and self.server_batching:
            raise ExportError(
                "Either the graph or the server merges requests: set batching or server_batching, not both."
            )
        if self.server_batching and self.server_batching.pad_to:
            raise ExportError("Only batching in the graph pads requests: pass --batching in-graph with --pad-to.")
        if self.batching and self.batching.max_request_size < _LEAST_REQUEST:
            raise ExportError(
                f"max_request_size is {self.batching.max_request_size}; use at least {_LEAST_REQUEST}, which the "
                "validation and a client's check send in one request. Larger requests run in parts."
            )
        check_limits(self.min_score, self.thresholds, self.fit_thresholds)
        for name in ("version", "keep"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ExportError(f"{name} is {value}; use 1 or more.")
        for name in ("max_deviation", "max_changed_sets"):
            if getattr(self, name) is not None and self.precision is None:
                raise ExportError(f"{name} limits what a change of precision may change: pass a precision with it.")
        for name in ("max_deviation", "max_changed_sets", "min_exact_match", "min_f1"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                raise ExportError(f"{name} is {value}; use a number from 0 to 1.")
        # Written so that NaN is refused, too.
        if not self.golden_megabytes > 0:
            raise ExportError(f"The golden records may take {self.golden_megabytes} MB; use a number above 0.")

    @property
    def warmup_sizes(self) -> tuple[int, ...]:
        """The batch sizes that a server runs before it takes requests."""
        batching = self.batching or self.server_batching
        return batching.sizes if batching else (1, 2, 4)
