"""The whole way of an export: from a Classifier to a published version."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf

from exporter.deploy import ServerFiles
from exporter.errors import ExportError, ProofFailedError, StoreError, reason
from exporter.options import Options
from exporter.server_images import check_image
from exporter.sources.classifier import Classifier
from exporter.store.follow_up import follow_up, only_warn
from exporter.store.versions import VersionStore
from exporter.validation.answers import PROOFS, Claim
from exporter.validation.batching import BATCHING_PROOFS, answers_by_length, samples_that_fit, values_that_fail_others
from exporter.validation.gpu_kernels import GpuReadiness, gpu_readiness
from exporter.validation.loaded import LoadedVersion
from exporter.validation.quality import Quality, measure_quality, require_quality
from exporter.writing.precision import Deviation, answers_in, cast_backbone, computes_in, layers_to_cast
from exporter.writing.prediction_logs import golden_records, warmup_records, write_records
from exporter.writing.saved_model import write_saved_model
from signatures import Identity, Signature, compose_signatures
from signatures.batching import variable_dimensions
from signatures.contract import names
from signatures.contract.judge import BACKBONES

Step = Callable[[str], AbstractContextManager[Any]]


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


def export(
    classifier: Classifier,
    output: Path | str,
    k: int = 2,
    options: Options | None = None,
    step: Step = nullcontext,
) -> PublishedVersion:
    """Publish a classifier with a sparsified head as the next version below `output`/`classifier.name`.

    Args:
        classifier: the model and what must be known of it.
        output: the directory that holds the base path of each model.
        k: how many labels a served answer keeps where a request does not say.
        options: how the model computes, what it must prove, and how it is published.
        step: entered around each step of the work, with a few words for a person who waits.

    Raises:
        ExportError: when the model or an option cannot be served. Nothing is published, and nothing left behind.
        ProofFailedError: when the version that was written does not answer as the Keras model does, or is not as good
            as demanded.
        StoreError: when `output` cannot be written to.

    Example:
        >>> export(load_classifier("digits"), Path("models"), k=2).path
        PosixPath('models/digits/1')
    """
    output = Path(output)
    options = options or Options()
    warnings = _check_options(classifier, k, options)
    samples = samples_that_fit(classifier, options.batching)
    with step("Asking the Keras model"):
        dense = classifier.dense_answers(samples)
    changed, cast = None, layers_to_cast(classifier, samples, options.precision)
    if cast:
        with step(f"Asking it again in {options.precision}"):
            dense, changed = answers_in(classifier, samples, cast, dense, k, options)
    store = VersionStore(output / classifier.name)
    with (
        store.staging(keep_on=ProofFailedError if options.keep_failed else None) as staging,
        _disk_errors(store.base_path),
        _golden_output(options, warnings) as golden_output,
        cast_backbone(cast, options.precision),
    ):
        precision = computes_in(classifier.model)
        of_length = answers_by_length(classifier, samples, options.batching)
        extra = staging / names.ASSETS_EXTRA
        golden = golden_records(classifier.name, samples, dense, options.golden_megabytes)
        digest = write_records(golden_output or extra / names.GOLDEN_FILE, golden)
        info: dict[str, Any] = {
            names.EXPORT_ID: uuid.uuid4().hex,
            names.MODEL: classifier.name,
            names.K: k,
            names.LABELS: list(classifier.labels),
            names.PREPROCESSING: classifier.preprocessing,
            names.GOLDEN_DIGEST: digest,
        }
        with step("Tracing the signatures, writing the SavedModel"):
            signatures = _written(staging, classifier, info, options)
        keys = [signature.key for signature in signatures]
        lengths = options.batching.pad_to if options.batching else ()
        warmup = [samples.of_length(length, classifier.inputs.specs) for length in lengths] or [samples]
        write_records(extra / names.WARMUP_FILE, warmup_records(classifier.name, keys, warmup, k, options.warmup_sizes))
        with step("Looking up GPU kernels"):
            gpu = gpu_readiness(staging, names.BACKBONE)
            warnings += _on_a_cpu(gpu, options.strict)
        with step("Loading it as a server does"):
            version = LoadedVersion(staging)
        with version:
            tolerance = BACKBONES[precision]
            weights = classifier.weight_bytes()
            claim = Claim(samples, dense, tolerance, k, classifier.labels, info, signatures, weights, of_length)
            proofs = PROOFS if options.batching is None else {**BATCHING_PROOFS, **PROOFS}
            for words, prove in proofs.items():
                with step(words):
                    prove(version, claim)
            quality = measure_quality(version, samples, k)
        require_quality(quality, options.min_exact_match, options.min_f1)
        record = {
            **info,
            "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "tensorflow": tf.__version__,
            "image": options.image,
            "precision": precision,
            "jit_compile": options.jit_compile,
            "batching": None if options.batching is None else asdict(options.batching),
            "samples": {"count": len(samples), "made_up": samples.made_up},
            "quality": None if quality is None else asdict(quality),
            "deviation": None if changed is None else asdict(changed),
            "gpu": asdict(gpu),
            "signatures": _described(signatures),
            "files": _digests(staging),
        }
        (extra / names.EXPORT_FILE).write_text(json.dumps(record, indent=2) + "\n")
        if options.dry_run:
            number = store.next_version(options.version)
        else:
            with step("Publishing"):
                number = store.publish(staging, options.version)
    server_files, removed = (None, []) if options.dry_run else follow_up(store, number, options, warnings)
    return PublishedVersion(
        path=store.base_path / str(number),
        version=number,
        export_id=info[names.EXPORT_ID],
        signatures=signatures,
        quality=quality,
        deviation=changed,
        gpu=gpu,
        server_files=server_files,
        removed=removed,
        warnings=warnings,
        dry_run=options.dry_run,
    )


def _check_options(classifier: Classifier, k: int, options: Options) -> list[str]:
    """Refuse what cannot be before any work is done; give what should be known."""
    labels = len(classifier.labels)
    if not 1 <= k <= labels:
        raise ExportError(f"k = {k} cannot be the default for {labels} labels: use a number from 1 to {labels}.")
    if options.golden_output and options.golden_output.is_dir():
        raise ExportError(f"The golden records cannot be written to {options.golden_output}: it is a directory.")
    strings = [name for name, spec in classifier.inputs.specs.items() if spec.dtype == tf.string]
    if options.jit_compile and strings:
        raise ExportError(f"XLA compiles no strings, which the model takes as {strings[0]}: leave out --jit-compile.")
    warnings = []
    for problem in check_image(options.image, tf.__version__, jit_compile=options.jit_compile):
        if problem.refuses and not options.allow_older_image:
            raise ExportError(f"{problem.message} To export even so, pass --allow-older-image.")
        warnings.append(problem.message)
    variable = [spec for spec in classifier.inputs.specs.values() if variable_dimensions(spec)]
    if options.server_batching and variable:
        raise ExportError(
            f"The input {variable[0].name} has the shape {variable[0].shape}, and the server's own batching fails "
            "requests that meet one of another shape: pass --batching in-graph --pad-to 16,32,64 with the lengths to "
            "pad requests to, or --batching none."
        )
    if options.batching:
        warnings += values_that_fail_others(classifier)
    if options.server_batching:
        warnings.append(
            "The server's own batching merges requests before any guard can run: one bad request fails all that share "
            "its batch. There every signature but fixed_k and classify needs one k an example, or is refused."
        )
    if classifier.untrained:
        warnings.append(f"{classifier.name} is untrained: its weights are random, and so are its answers.")
    if classifier.samples.known is not None and not classifier.samples.known.all():
        known, count = int(classifier.samples.known.sum()), len(classifier.samples)
        unknown = f"The true labels of {count - known} of the {count} samples are not known"
        warnings.append(f"{unknown}: the gate judges the other {known}.")
    if classifier.samples.made_up:
        warnings.append("The samples are made up: they prove that the export answers as the model does, nothing more.")
    return warnings


def _written(directory: Path, classifier: Classifier, info: dict[str, Any], options: Options) -> Sequence[Signature]:
    """Trace the signatures and write the SavedModel."""
    try:
        return write_saved_model(
            directory, classifier.model, info[names.EXPORT_ID], lambda read: _sign(classifier, info, options, read)
        )
    except (ExportError, OSError, tf.errors.OpError):
        raise
    except Exception as error:  # Whatever the layers of a stranger's model may raise where values are not known yet.
        raise ExportError(f"The model runs, but cannot be traced into a graph: {reason(error)}.") from error


def _sign(
    classifier: Classifier, info: dict[str, Any], options: Options, read_export_id: Callable[[], tf.Tensor]
) -> list[Signature]:
    identity = Identity(
        read_export_id,
        classifier.name,
        info[names.K],
        classifier.labels,
        classifier.preprocessing,
        info[names.GOLDEN_DIGEST],
    )
    try:
        return compose_signatures(
            classifier.backbone(options.batching, options.jit_compile), identity, options.signatures
        )
    except ValueError as error:
        raise ExportError(str(error)) from error


def _on_a_cpu(gpu: GpuReadiness, strict: bool) -> list[str]:
    if not gpu.cpu_ops_in_backbone:
        return []
    ops = ", ".join(gpu.cpu_ops_in_backbone)
    sentence = f"The model uses ops that have no GPU kernel, and would leave the GPU and come back for each: {ops}."
    if strict:
        raise ProofFailedError(sentence)
    return [sentence]


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
def _golden_output(options: Options, warnings: list[str]) -> Iterator[Path | None]:
    """Give a name beside the golden records' file, which becomes that file once their version is published."""
    if options.golden_output is None:
        yield None
        return
    unproven = options.golden_output.with_name(f"{options.golden_output.name}.unproven")
    published = False
    try:
        yield unproven
        published = not options.dry_run
    finally:
        if not published:
            with suppress(OSError):
                unproven.unlink()
    if published:
        with only_warn(warnings, f"The golden records stay in {unproven}, and not in {options.golden_output}"):
            unproven.replace(options.golden_output)


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
        raise ProofFailedError(f"The version fails where a server would run it: {reason(error)}.") from error
