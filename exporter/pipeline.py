"""The whole way of an export, from a Classifier to a published version: stage, validate, publish."""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import tensorflow as tf

from exporter.checks import OwnSignatures, check_gpu, check_options, check_own_signatures
from exporter.deploy import ServerFiles
from exporter.errors import StoreError, ValidationError, reason
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.sources.classifier import Classifier
from exporter.sources.examine import examine
from exporter.staging import ExportRequest, StagedVersion, Step, ask_model, described, stage
from exporter.store.follow_up import follow_up
from exporter.store.versions import VersionStore
from exporter.validation import Validation, validations_for
from exporter.validation.gpu_kernels import GpuReadiness
from exporter.validation.loaded import loaded_by_a_server
from exporter.validation.quality import Quality, measure_quality, require_quality
from exporter.writing.golden_output import golden_output
from exporter.writing.precision import Deviation, cast_backbone
from signatures import Signature
from signatures.contract.record import ExportRecord


@dataclass(frozen=True)
class PublishedVersion:
    """A version that a server can load now.

    Attributes:
        path: its directory, <output>/<name>/<version>.
        version: its number.
        export_id: what `export_info` answers.
        signatures: its signatures, with their declared inputs and outputs.
        quality: what it gets right, where the samples are labeled.
        deviation: what another precision changed, where one was asked for.
        gpu: where its ops would run on a server with a GPU.
        server_files: what was written to <output>/deploy; None in a dry run, and where that failed.
        removed: the older versions that were removed.
        warnings: what a person should know, a sentence each.
        dry_run: whether nothing was published.
    """

    path: Path
    version: int
    export_id: str
    signatures: Sequence[Signature]
    quality: Quality | None
    deviation: Deviation | None
    gpu: GpuReadiness
    server_files: ServerFiles | None
    removed: Sequence[int]
    warnings: Sequence[str]
    dry_run: bool = False


@dataclass(frozen=True)
class ValidatedVersion:
    """A staged version that answers as the Keras model does, with its record written.

    Attributes:
        staged: the version.
        quality: what it gets right, where the samples are labeled.
    """

    staged: StagedVersion
    quality: Quality | None


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
    """Publish a classifier with a sparsified head as the next version below `output`/`classifier.name`.

    Args:
        classifier: the model and what must be known of it.
        output: the directory that holds the base path of each model.
        k: how many labels a served answer keeps where a request does not say.
        options: how the model computes, how it is validated, and how it is published.
        step: entered around each step of the work, with a few words for a person who waits.
        samples: examples to validate with; by default those at the classifier's `sample_path`, or made-up ones.
        own_signatures: by key, an input form and an output form for each signature to add to the standard ones. They
            are traced over the same backbone and validated as the others are.
        validations: what the staged version must pass, by the words for `step`; by default what
            `exporter.validation.validations_for` returns.
        export_id: 32 hexadecimal digits that tell this export from every other; by default drawn at random.

    Raises:
        ExportError: when the model or an option cannot be served. Nothing is published, and nothing left behind.
        ValidationError: when the version that was written does not answer as the Keras model does, or is not as good
            as demanded.
        StoreError: when `output` cannot be written to.

    Example:
        >>> export(load_classifier("digits"), Path("models"), k=2).path
        PosixPath('models/digits/1')
    """
    options, own = options or ExportOptions(), own_signatures or {}
    with step("Reading the samples, trying the model"):
        classifier, samples = examine(classifier, samples)
    request = ExportRequest(classifier, k, options, step, own, export_id or uuid.uuid4().hex)
    warnings = check_options(classifier, samples, k, options)
    check_own_signatures(classifier, own)
    if validations is None:
        validations = validations_for(batching=options.batching is not None, own_signatures=bool(own))
    answers = ask_model(request, samples)
    store = VersionStore(Path(output) / classifier.name)
    with (
        store.staging(keep_on=ValidationError if options.keep_failed else None) as directory,
        _disk_errors(store.base_path),
        golden_output(options, warnings) as golden,
        cast_backbone(answers.cast, options.precision),
    ):
        staged = stage(request, directory, answers, golden)
        warnings += check_gpu(staged.gpu, options.require_gpu_kernels)
        validated = _validate(request, staged, validations, answers.deviation)
        number = _publish(request, validated, store)
    return _followed_up(request, validated, store, number, warnings, answers.deviation)


def _validate(
    request: ExportRequest,
    staged: StagedVersion,
    validations: Mapping[str, Validation],
    deviation: Deviation | None,
) -> ValidatedVersion:
    """Load a staged version as a server does, hold it to what is expected of it, and write its record."""
    step, options, samples = request.step, request.options, staged.expected.samples
    with loaded_by_a_server(staged.directory, step) as version:
        for words, validate in validations.items():
            with step(words):
                validate(version, staged.expected)
        quality = measure_quality(version, samples, request.k)
    require_quality(quality, options.min_exact_match, options.min_f1)
    ExportRecord(
        **staged.expected.info,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        tensorflow=tf.__version__,
        image=options.image,
        precision=staged.precision,
        jit_compile=options.jit_compile,
        batching=None if options.batching is None else asdict(options.batching),
        samples={"count": len(samples), "made_up": samples.made_up},
        quality=None if quality is None else asdict(quality),
        deviation=None if deviation is None else asdict(deviation),
        gpu=asdict(staged.gpu),
        signatures=described(staged.signatures),
        files=_digests(staged.directory),
    ).write(staged.directory)
    return ValidatedVersion(staged, quality)


def _publish(request: ExportRequest, validated: ValidatedVersion, store: VersionStore) -> int:
    """Rename a validated version to its number; in a dry run only return the number that it would get."""
    if request.options.dry_run:
        return store.next_version(request.options.version)
    with request.step("Publishing"):
        return store.publish(validated.staged.directory, request.options.version)


def _followed_up(
    request: ExportRequest,
    validated: ValidatedVersion,
    store: VersionStore,
    number: int,
    warnings: list[str],
    deviation: Deviation | None,
) -> PublishedVersion:
    """Write the server's files and remove old versions, neither of which makes the export fail."""
    options = request.options
    server_files, removed = (None, []) if options.dry_run else follow_up(store, number, options, warnings)
    return PublishedVersion(
        path=store.base_path / str(number),
        version=number,
        export_id=request.export_id,
        signatures=validated.staged.signatures,
        quality=validated.quality,
        deviation=deviation,
        gpu=validated.staged.gpu,
        server_files=server_files,
        removed=removed,
        warnings=warnings,
        dry_run=options.dry_run,
    )


def _digests(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@contextmanager
def _disk_errors(base_path: Path) -> Iterator[None]:
    """Tell a full or broken disk from a fault of ours: TensorFlow has its own errors for it."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{error.filename or base_path} cannot be written to: {error.strerror}.") from error
    except tf.errors.OpError as error:
        for problem in ("No space left on device", "File too large", "Read-only file system", "Disk quota exceeded"):
            if problem in str(error):
                raise StoreError(f"{base_path} cannot be written to: {problem}.") from error
        raise ValidationError(f"The version fails where a server would run it: {reason(error)}.") from error
