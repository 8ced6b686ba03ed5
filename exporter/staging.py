"""The first stage of an export: run the Keras model, and write a version that no server can see yet."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt
import tensorflow as tf

from exporter.checks import OwnSignatures
from exporter.errors import ExportError, reason
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.sources.classifier import Classifier
from exporter.validation.batching import answers_by_length, samples_that_fit
from exporter.validation.expected import ExpectedBehavior, Scores
from exporter.writing.precision import PRECISIONS, Deviation, answers_in, computes_in, layers_to_cast
from exporter.writing.prediction_logs import golden_records, warmup_records, write_records
from exporter.writing.saved_model import write_saved_model
from signatures import Identity, InputForm, Signature, compose_signatures
from signatures.contract import names
from signatures.contract.questions import ExportedLimits

# Makes the context manager to enter around a step of the work, from a short description.
Step: TypeAlias = Callable[[str], AbstractContextManager[Any]]

# How many samples to compare other outputs for: these may be large.
_ALSO_ASKED = 8


@dataclass(frozen=True)
class ExportRequest:
    """The arguments of `export`; see there."""

    classifier: Classifier
    k: int
    options: ExportOptions
    step: Step
    own_signatures: OwnSignatures
    export_id: str


@dataclass(frozen=True)
class ModelAnswers:
    """The Keras model's answers, which the version must match.

    Attributes:
        samples: the examples.
        dense: the model's probabilities for them, [S, N], in the exported precision.
        cast: the layers whose precision the export changes.
        deviation: what that changed; None without such layers.
    """

    samples: Samples
    dense: Scores
    cast: Sequence[Any]
    deviation: Deviation | None


@dataclass(frozen=True)
class StagedVersion:
    """A version that is written but that no server can see yet.

    Attributes:
        directory: its directory.
        signatures: its signatures.
        expected: what it must answer.
        precision: the precision of its backbone.
        deviation: how a change of precision changed the answers; None without one.
    """

    directory: Path
    signatures: Sequence[Signature]
    expected: ExpectedBehavior
    precision: str
    deviation: Deviation | None


def ask_model(request: ExportRequest, samples: Samples) -> ModelAnswers:
    """Run the Keras model on the samples, in its own precision and, if another is exported, in that one."""
    classifier, options = request.classifier, request.options
    samples = samples_that_fit(classifier, samples, options.batching)
    with request.step("Asking the Keras model"):
        dense = classifier.dense_answers(samples)
    deviation, cast = None, layers_to_cast(classifier, samples, options.precision)
    if cast:
        with request.step(f"Asking it again in {options.precision}"):
            dense, deviation = answers_in(classifier, samples, cast, dense, request.k, options)
    return ModelAnswers(samples, dense, cast, deviation)


def stage(
    request: ExportRequest, directory: Path, answers: ModelAnswers, limits: ExportedLimits, golden: Path | None
) -> StagedVersion:
    """Write the SavedModel, the golden records and the warm-up requests."""
    classifier, options, samples = request.classifier, request.options, answers.samples
    precision = computes_in(classifier.model)
    of_length = answers_by_length(classifier, samples, options.batching)
    extra = directory / names.ASSETS_EXTRA
    records = golden_records(classifier.name, samples, answers.dense, options.golden_megabytes)
    info: dict[str, Any] = {
        names.EXPORT_ID: request.export_id,
        names.MODEL: classifier.name,
        names.K: limits.k,
        names.MIN_SCORE: limits.min_score,
        names.THRESHOLDS: limits.thresholds,
        names.LABELS: list(classifier.labels),
        names.PREPROCESSING: classifier.preprocessing,
        names.GOLDEN_DIGEST: write_records(golden or extra / names.GOLDEN_FILE, records),
    }
    with request.step("Tracing the signatures, writing the SavedModel"):
        # Nothing needs their traces once they are written.
        signatures = [replace(each, function=None) for each in _written(request, directory, info)]
    write_records(extra / names.WARMUP_FILE, _warmup(request, signatures, samples, limits))
    expected = ExpectedBehavior(
        samples,
        answers.dense,
        PRECISIONS[precision].dense,
        limits,
        classifier.labels,
        info,
        signatures,
        classifier.weight_bytes(),
        of_length,
        also=classifier.also_answers(samples.rows(0, _ALSO_ASKED)) if classifier.also_outputs else {},
        own={key: _dense_by_keras(classifier, form) for key, (form, _) in request.own_signatures.items()},
    )
    return StagedVersion(directory, signatures, expected, precision, answers.deviation)


def _written(request: ExportRequest, directory: Path, info: Mapping[str, Any]) -> Sequence[Signature]:
    """Trace the signatures and write the SavedModel."""
    try:
        return write_saved_model(
            directory, request.classifier.model, request.export_id, lambda read: _sign(request, info, read)
        )
    except (ExportError, OSError, tf.errors.OpError):
        raise
    except Exception as error:  # A model's layers may raise anything while their values are still symbolic.
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
        min_score=info[names.MIN_SCORE],
        thresholds=info[names.THRESHOLDS],
    )
    backbone = classifier.backbone(options.batching, options.jit_compile)
    try:
        return compose_signatures(backbone, identity, options.signatures, own=request.own_signatures)
    except ValueError as error:
        raise ExportError(str(error)) from error


def _warmup(
    request: ExportRequest, signatures: Sequence[Signature], samples: Samples, limits: ExportedLimits
) -> Iterator[Any]:
    """Return the warm-up requests, for each length that requests are padded to."""
    classifier, options = request.classifier, request.options
    lengths = options.batching.pad_to if options.batching else ()
    each = [samples.of_length(length, classifier.inputs.specs) for length in lengths] or [samples]
    keys, own = [signature.key for signature in signatures], request.own_signatures
    own_inputs = {key: list(form.inputs) for key, (form, _) in own.items()}
    return warmup_records(classifier.name, keys, each, limits, options.warmup_sizes, own_inputs)


def _dense_by_keras(classifier: Classifier, form: InputForm) -> Callable[[Mapping[str, npt.NDArray[Any]]], Scores]:
    """Return a function from a request of this form to the Keras model's probabilities, computed without a graph."""

    def dense(request: Mapping[str, npt.NDArray[Any]]) -> Scores:
        received = {
            name: tf.constant(request[name], spec.dtype) if name in request else form.defaults[name]
            for name, spec in form.inputs.items()
        }
        inputs, _ = form.read(received)
        scores: Scores = form.combine(classifier.probabilities(*inputs)).numpy()
        return scores

    return dense


def described(signatures: Sequence[Signature]) -> dict[str, Any]:
    """Return the signatures as export.json describes them."""

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
