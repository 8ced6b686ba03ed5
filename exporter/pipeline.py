"""Export a Classifier as a published version: stage, validate, publish."""

import gc
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf

from exporter.checks import OwnSignatures, check_gpu, check_options, check_own_signatures
from exporter.deploy import ServerFiles
from exporter.errors import StoreError, ValidationError, reason
from exporter.memory import memory_of
from exporter.on_servers import on_servers
from exporter.options import ExportOptions
from exporter.origin import file_digests, git_commit
from exporter.samples.samples import Samples
from exporter.sources.classifier import Classifier
from exporter.sources.examine import examine
from exporter.staging import ExportRequest, StagedVersion, Step, ask_model, described, stage
from exporter.store.breaking_changes import check_callers
from exporter.store.follow_up import follow_up
from exporter.store.versions import VersionStore
from exporter.thresholds import ThresholdFit, exported_limits, fit_thresholds
from exporter.validation import Validation, validations_for
from exporter.validation.gpu_kernels import GpuReadiness, gpu_readiness
from exporter.validation.loaded import loaded_by_a_server
from exporter.validation.on_server.target import targets_of
from exporter.validation.quality import Quality, measure_quality, require_quality
from exporter.writing.golden_output import golden_output
from exporter.writing.precision import Deviation, cast_backbone
from signatures import Signature
from signatures.contract import names
from signatures.contract.interface import Interface
from signatures.contract.questions import ExportedLimits
from signatures.contract.record import ExportRecord


@dataclass(frozen=True)
class PublishedVersion:
    """A version that a server can now load.

    Attributes:
        path: its directory, <output>/<name>/<version>.
        version: its number.
        export_id: the export id that `export_info` answers.
        signatures: its signatures, with their declared inputs and outputs.
        limits: what its answers keep if a request does not say, and the thresholds of its labels.
        threshold_fit: how the thresholds were fitted; None if they were not.
        quality: how well it classifies the samples; None if they have no labels.
        deviation: what `options.precision` changed; None if it changed nothing.
        gpu: where its ops would run on a server with a GPU.
        server_files: what was written to <output>/deploy; None in a dry run or if writing failed.
        removed: the older versions that were removed.
        warnings: what the user should know, one sentence each.
        validated_on: the verdicts of the servers that it was validated on, as export.json has them.
        dry_run: whether publishing was left out; `path` and `version` are then those it would have had.

    Example:
        >>> version = export(classifier, "models", k=1)
        >>> version.version, version.path
        (1, PosixPath('models/pets/1'))
    """

    path: Path
    version: int
    export_id: str
    signatures: Sequence[Signature]
    limits: ExportedLimits
    threshold_fit: ThresholdFit | None
    quality: Quality | None
    deviation: Deviation | None
    gpu: GpuReadiness
    server_files: ServerFiles | None
    removed: Sequence[int]
    warnings: Sequence[str]
    validated_on: Sequence[Mapping[str, Any]] = ()
    dry_run: bool = False

    def __repr__(self) -> str:
        """Show what a person wants to know, without every label, op and warning."""
        keys = [signature.key for signature in self.signatures]
        dry_run = ", dry_run=True" if self.dry_run else ""
        return f"PublishedVersion({str(self.path)!r}, signatures={keys}, warnings={len(self.warnings)}{dry_run})"


@dataclass(frozen=True)
class ValidatedVersion:
    """A staged version that passed validation, with its record written.

    Attributes:
        staged: the version.
        gpu: where its ops would run on a server with a GPU.
        quality: how well it classifies the samples; None if they have no labels.
        record: what its export.json says.
    """

    staged: StagedVersion
    gpu: GpuReadiness
    quality: Quality | None
    record: ExportRecord


def export(
    classifier: Classifier,
    output: Path | str,
    k: int = 2,
    options: ExportOptions | None = None,
    step: Step = nullcontext,
    *,
    samples: Samples | None = None,
    own_signatures: OwnSignatures | None = None,
    validations: Mapping[str, Validation] | None = None,
    export_id: str | None = None,
) -> PublishedVersion:
    """Publish a classifier with a sparsified head as the next version in `output`/`classifier.name`.

    After any error, nothing is published and nothing half-written is left behind.

    Args:
        classifier: the model to export.
        output: the directory that holds the base path of each model.
        k: how many labels an answer keeps if the request does not say.
        options: how the model computes, how it is validated and how it is published.
        step: a context manager to enter around each step of the work; it is called with a short description.
        samples: examples to validate with; by default those at the classifier's `sample_path`, or made-up ones.
        own_signatures: signatures to add to the standard ones: by key, an input form and an output form. They share
            the backbone of the others and are validated the same way.
        validations: what the staged version must pass, by their descriptions for `step`; by default what
            `exporter.validation.validations_for` returns. `options.validate_on` adds servers.
        export_id: 32 hexadecimal digits that identify this export; by default drawn at random.

    Returns:
        The published version, with its signatures, its measurements and the warnings for the user.

    Raises:
        ExportError: when the model or an option cannot be served.
        ValidationError: when the staged version does not answer as the Keras model does, or misses a required quality.
        StoreError: when `output` cannot be written to.

    Example:
        >>> export(load_classifier("digits"), Path("models"), k=2).path
        PosixPath('models/digits/1')
    """
    options, own = options or ExportOptions(), own_signatures or {}
    targets = targets_of(options)
    with step("Reading the samples, trying the model"):
        classifier, samples = examine(classifier, samples)
    request = ExportRequest(classifier, k, options, step, own, export_id or uuid.uuid4().hex)
    warnings = check_options(classifier, samples, k, options)
    check_own_signatures(classifier, own)
    if validations is None:
        validations = validations_for(
            batching=options.batching is not None,
            own_signatures=bool(own),
            also_outputs=bool(classifier.also_outputs),
        )
    answers = ask_model(request, samples)
    fit = None
    if options.fit_thresholds:
        with step("Fitting thresholds"):
            fit = fit_thresholds(options.fit_thresholds, classifier.labels, answers.samples, answers.dense)
        warnings += fit.warnings
    limits = exported_limits(k, options.min_score, options.thresholds, fit, classifier.labels)
    store = VersionStore(Path(output) / classifier.name)
    with (
        store.staging(keep_on=ValidationError if options.keep_failed else None) as directory,
        _disk_errors(store.base_path),
        golden_output(options, warnings) as golden,
        cast_backbone(answers.cast, options.precision),
    ):
        staged = stage(request, directory, answers, limits, golden)
        # Traces are reference cycles. Loading and running the version can reuse the memory that they held.
        gc.collect()
        interface = Interface(described(staged.signatures), classifier.labels, classifier.preprocessing)
        warnings += check_callers(store, interface, options.forbid_breaking_changes)
        validated = _validate(request, staged, validations, fit, warnings)
        if targets:
            validated = replace(
                validated, record=on_servers(request, staged, validated.record, targets, store, golden, warnings)
            )
        number = _publish(request, validated, store)
    return _follow_up(request, validated, store, number, warnings, fit)


def _validate(
    request: ExportRequest,
    staged: StagedVersion,
    validations: Mapping[str, Validation],
    fit: ThresholdFit | None,
    warnings: list[str],
) -> ValidatedVersion:
    """Load a staged version as a server does, validate it, and write its record."""
    step, options, samples = request.step, request.options, staged.expected.samples
    with loaded_by_a_server(staged.directory, step) as version:
        gpu = _look_up_gpu_kernels(request, staged.directory, warnings)
        for words, validate in validations.items():
            with step(words):
                validate(version, staged.expected)
        quality = measure_quality(version, samples, staged.expected.exported)
    require_quality(quality, options.min_exact_match, options.min_f1)
    record = ExportRecord(
        **staged.expected.info,
        threshold_fit=None if fit is None else asdict(fit),
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tensorflow=tf.__version__,
        image=options.image,
        precision=staged.precision,
        jit_compile=options.jit_compile,
        batching=None if options.batching is None else asdict(options.batching),
        samples={"count": len(samples), "made_up": samples.made_up},
        quality=None if quality is None else asdict(quality),
        deviation=None if staged.deviation is None else asdict(staged.deviation),
        gpu=asdict(gpu),
        git_commit=git_commit(Path.cwd()),
        source_digest=request.classifier.source_digest,
        metadata=dict(options.metadata),
        signatures=described(staged.signatures),
        memory=memory_of(staged.directory, options, samples.longest(request.classifier.inputs.specs)),
        warmup_seconds=round(version.warmup_seconds, 3),
        input_bounds=request.classifier.inputs.bounds,
        files=file_digests(staged.directory),
    )
    record.write(staged.directory)
    return ValidatedVersion(staged, gpu, quality, record)


def _look_up_gpu_kernels(request: ExportRequest, directory: Path, warnings: list[str]) -> GpuReadiness:
    """Look up GPU kernels, while a thread prepares the first signature for its first run."""
    with request.step("Looking up GPU kernels"):
        gpu = gpu_readiness(directory, names.BACKBONE)
    warnings += check_gpu(gpu, request.options.require_gpu_kernels)
    return gpu


def _publish(request: ExportRequest, validated: ValidatedVersion, store: VersionStore) -> int:
    """Rename a validated version to its number; in a dry run, only return that number."""
    if request.options.dry_run:
        return store.next_version(request.options.version)
    with request.step("Publishing"):
        return store.publish(validated.staged.directory, request.options.version)


def _follow_up(
    request: ExportRequest,
    validated: ValidatedVersion,
    store: VersionStore,
    number: int,
    warnings: list[str],
    fit: ThresholdFit | None,
) -> PublishedVersion:
    """Write the server's files and remove old versions; a failure in either is only a warning."""
    options = request.options
    server_files, removed = (None, []) if options.dry_run else follow_up(store, number, options, warnings)
    return PublishedVersion(
        path=store.base_path / str(number),
        version=number,
        export_id=request.export_id,
        signatures=validated.staged.signatures,
        limits=validated.staged.expected.exported,
        threshold_fit=fit,
        quality=validated.quality,
        deviation=validated.staged.deviation,
        gpu=validated.gpu,
        server_files=server_files,
        removed=removed,
        warnings=warnings,
        validated_on=validated.record.validated_on,
        dry_run=options.dry_run,
    )


@contextmanager
def _disk_errors(base_path: Path) -> Iterator[None]:
    """Turn the errors of a full or broken disk, TensorFlow's own included, into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or base_path} cannot be written to: {error.strerror}.") from error
    except tf.errors.OpError as error:
        for problem in ("No space left on device", "File too large", "Read-only file system", "Disk quota exceeded"):
            if problem in str(error):
                raise StoreError(f"{base_path} cannot be written to: {problem}.") from error
        raise ValidationError(f"The version fails where a server would run it: {reason(error)}.") from error
