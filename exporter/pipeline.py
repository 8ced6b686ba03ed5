"""The whole way of an export, from a Classifier to a published version: stage, validate, publish."""

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.checks import OwnSignatures, check_gpu, check_options, check_own_signatures
from exporter.deploy import ServerFiles
from exporter.errors import ExportError, StoreError, ValidationError, reason
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.sources.classifier import Classifier
from exporter.store.follow_up import follow_up
from exporter.store.versions import VersionStore
from exporter.validation import Validation, validations_for
from exporter.validation.batching import answers_by_length, samples_that_fit
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.gpu_kernels import GpuReadiness, gpu_readiness
from exporter.validation.loaded import loaded_by_a_server
from exporter.validation.quality import Quality, measure_quality, require_quality
from exporter.writing.golden_output import golden_output
from exporter.writing.precision import PRECISIONS, Deviation, answers_in, cast_backbone, computes_in, layers_to_cast
from exporter.writing.prediction_logs import golden_records, warmup_records, write_records
from exporter.writing.saved_model import write_saved_model
from signatures import Identity, InputForm, Signature, compose_signatures
from signatures.contract import names
from signatures.contract.record import ExportRecord

Step = Callable[[str], AbstractContextManager[Any]]
Scores = npt.NDArray[np.float32]


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
class ExportRequest:
    """What `export` was asked for; see there."""

    classifier: Classifier
    k: int
    options: ExportOptions
    step: Step
    own_signatures: OwnSignatures
    export_id: str


@dataclass(frozen=True)
class ModelAnswers:
    """What the Keras model answers: the standard that a version is held to.

    Attributes:
        samples: the examples.
        dense: its probabilities for them, [S, N], in the precision that is exported.
        cast: the layers that compute in another precision than before.
        deviation: what that changed.
    """

    samples: Samples
    dense: Scores
    cast: Sequence[Any]
    deviation: Deviation | None


@dataclass(frozen=True)
class StagedVersion:
    """A version that is written, and visible to no server.

    Attributes:
        directory: where it is.
        signatures: its signatures.
        expected: what it must answer.
        precision: what its backbone computes in.
        gpu: where its ops would run on a server with a GPU.
    """

    directory: Path
    signatures: Sequence[Signature]
    expected: ExpectedBehavior
    precision: str
    gpu: GpuReadiness


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
    request = ExportRequest(classifier, k, options, step, own, export_id or uuid.uuid4().hex)
    warnings = check_options(classifier, classifier.samples, k, options)
    check_own_signatures(classifier, own)
    if validations is None:
        validations = validations_for(batching=options.batching is not None, own_signatures=bool(own))
    answers = _ask_model(request)
    store = VersionStore(Path(output) / classifier.name)
    with (
        store.staging(keep_on=ValidationError if options.keep_failed else None) as directory,
        _disk_errors(store.base_path),
        golden_output(options, warnings) as golden,
        cast_backbone(answers.cast, options.precision),
    ):
        staged = _stage(request, directory, answers, golden)
        warnings += check_gpu(staged.gpu, options.require_gpu_kernels)
        validated = _validate(request, staged, validations, answers.deviation)
        number = _publish(request, validated, store)
    return _followed_up(request, validated, store, number, warnings, answers.deviation)


def _ask_model(request: ExportRequest) -> ModelAnswers:
    """Ask the Keras model about the samples, in the precision that is exported too."""
    classifier, options = request.classifier, request.options
    samples = samples_that_fit(classifier, options.batching)
    with request.step("Asking the Keras model"):
        dense = classifier.dense_answers(samples)
    deviation, cast = None, layers_to_cast(classifier, samples, options.precision)
    if cast:
        with request.step(f"Asking it again in {options.precision}"):
            dense, deviation = answers_in(classifier, samples, cast, dense, request.k, options)
    return ModelAnswers(samples, dense, cast, deviation)


def _stage(request: ExportRequest, directory: Path, answers: ModelAnswers, golden: Path | None) -> StagedVersion:
    """Write the SavedModel, the golden records and the warm-up requests."""
    classifier, options, samples = request.classifier, request.options, answers.samples
    precision = computes_in(classifier.model)
    of_length = answers_by_length(classifier, samples, options.batching)
    extra = directory / names.ASSETS_EXTRA
    records = golden_records(classifier.name, samples, answers.dense, options.golden_megabytes)
    info: dict[str, Any] = {
        names.EXPORT_ID: request.export_id,
        names.MODEL: classifier.name,
        names.K: request.k,
        names.LABELS: list(classifier.labels),
        names.PREPROCESSING: classifier.preprocessing,
        names.GOLDEN_DIGEST: write_records(golden or extra / names.GOLDEN_FILE, records),
    }
    with request.step("Tracing the signatures, writing the SavedModel"):
        signatures = _written(request, directory, info)
    write_records(extra / names.WARMUP_FILE, _warmup(request, signatures, samples))
    with request.step("Looking up GPU kernels"):
        gpu = gpu_readiness(directory, names.BACKBONE)
    expected = ExpectedBehavior(
        samples,
        answers.dense,
        PRECISIONS[precision].dense,
        request.k,
        classifier.labels,
        info,
        signatures,
        classifier.weight_bytes(),
        of_length,
        own={key: _dense_by_keras(classifier, taken) for key, (taken, _) in request.own_signatures.items()},
    )
    return StagedVersion(directory, signatures, expected, precision, gpu)


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
        signatures=_described(staged.signatures),
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


def _written(request: ExportRequest, directory: Path, info: Mapping[str, Any]) -> Sequence[Signature]:
    """Trace the signatures and write the SavedModel."""
    try:
        return write_saved_model(
            directory, request.classifier.model, request.export_id, lambda read: _sign(request, info, read)
        )
    except (ExportError, OSError, tf.errors.OpError):
        raise
    except Exception as error:  # Whatever the layers of a stranger's model may raise where values are not known yet.
        raise ExportError(f"The model runs, but cannot be traced into a graph: {reason(error)}.") from error


def _sign(request: ExportRequest, info: Mapping[str, Any], read_export_id: Callable[[], tf.Tensor]) -> list[Signature]:
    classifier, options = request.classifier, request.options
    identity = Identity(
        read_export_id,
        classifier.name,
        request.k,
        classifier.labels,
        classifier.preprocessing,
        info[names.GOLDEN_DIGEST],
    )
    backbone = classifier.backbone(options.batching, options.jit_compile)
    try:
        return compose_signatures(backbone, identity, options.signatures, own=request.own_signatures)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _warmup(request: ExportRequest, signatures: Sequence[Signature], samples: Samples) -> Iterator[Any]:
    """Return the warm-up requests, once for each length that requests are padded to."""
    classifier, options = request.classifier, request.options
    lengths = options.batching.pad_to if options.batching else ()
    each = [samples.of_length(length, classifier.inputs.specs) for length in lengths] or [samples]
    keys, own = [signature.key for signature in signatures], request.own_signatures
    taken = {key: list(form.inputs) for key, (form, _) in own.items()}
    return warmup_records(classifier.name, keys, each, request.k, options.warmup_sizes, taken)


def _dense_by_keras(classifier: Classifier, taken: InputForm) -> Callable[[Mapping[str, npt.NDArray[Any]]], Scores]:
    """Return what computes the Keras model's probabilities for a request of this form, without a graph."""

    def dense(request: Mapping[str, npt.NDArray[Any]]) -> Scores:
        received = {
            name: tf.constant(request[name], spec.dtype) if name in request else taken.defaults[name]
            for name, spec in taken.inputs.items()
        }
        inputs, _ = taken.read(received)
        scores: Scores = taken.combine(classifier.probabilities(*inputs)).numpy()
        return scores

    return dense


def _described(signatures: Sequence[Signature]) -> dict[str, Any]:
    def specs(declared: Any) -> dict[str, Any]:
        return {
            name: {
                "dtype": spec.dtype.name,
                "shape": None if spec.shape.rank is None else [-1 if size is None else size for size in spec.shape],
            }
            for name, spec in declared.items()
        }

    return {
        each.key: {"method": each.method, "inputs": specs(each.inputs), "outputs": specs(each.outputs)}
        for each in signatures
    }


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
