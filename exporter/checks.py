"""Checks before and during an export: errors for what cannot be served, warnings for what the user should know."""

from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf

from exporter.errors import ExportError, ValidationError
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.server_images import check_image
from exporter.sources.classifier import Classifier
from exporter.thresholds import by_label, require_labeled
from exporter.validation.batching import values_that_fail_others
from exporter.validation.gpu_kernels import GpuReadiness
from exporter.validation.on_server.target import images_of
from signatures import InputForm, OutputForm
from signatures.batching import variable_dimensions
from signatures.contract import names
from signatures.contract.answers import form_of

# A user's additional signatures, by key: an input form and an output form each.
OwnSignatures: TypeAlias = Mapping[str, tuple[InputForm, OutputForm]]


def check_options(classifier: Classifier, samples: Samples, k: int, options: ExportOptions) -> list[str]:
    """Refuse what cannot be served before any work is done, and return warnings for the user."""
    labels = len(classifier.labels)
    if not 1 <= k <= labels:
        raise ExportError(f"k = {k} cannot be the default for {labels} labels: use a number from 1 to {labels}.")
    if options.golden_output and options.golden_output.is_dir():
        raise ExportError(f"The golden records cannot be written to {options.golden_output}: it is a directory.")
    by_label(options.thresholds, classifier.labels)
    if options.fit_thresholds:
        require_labeled(samples)
    strings = [name for name, spec in classifier.inputs.specs.items() if spec.dtype == tf.string]
    if options.jit_compile and strings:
        raise ExportError(
            f"XLA cannot compile strings, which the model takes as {strings[0]}: leave out --jit-compile."
        )
    warnings = []
    for image in images_of(options.validate_on, options.image):
        for problem in check_image(image, tf.__version__, jit_compile=options.jit_compile):
            if problem.refuses and not options.allow_older_image:
                raise ExportError(f"{problem.message} To export anyway, pass --allow-older-image.")
            warnings.append(problem.message)
    variable = [spec for spec in classifier.inputs.specs.values() if variable_dimensions(spec)]
    if options.server_batching and variable:
        raise ExportError(
            f"The input {variable[0].name} has the shape {variable[0].shape}, and the server's own batching fails "
            "requests that are batched with others of another shape: pass --batching in-graph --pad-to 16,32,64 "
            "with the lengths to pad requests to, or --batching none."
        )
    if options.batching:
        warnings += values_that_fail_others(classifier)
    if options.server_batching:
        warnings.append(
            "The server's own batching merges requests before any guard can run, so one bad request fails all in its "
            "batch. Signatures that take k and min_score then need one k and one min_score for each example."
        )
    if classifier.untrained:
        warnings.append(f"{classifier.name} is untrained: its weights are random, so its answers mean nothing.")
    return warnings + _check_samples(samples, labels)


def _check_samples(samples: Samples, labels: int) -> list[str]:
    warnings = []
    if samples.truth is not None and samples.truth.shape != (shape := (len(samples), labels)):
        raise ExportError(
            f"The samples have a truth of shape {list(samples.truth.shape)}; the shape {list(shape)} is needed."
        )
    if samples.known is not None and not samples.known.all():
        known, count = int(samples.known.sum()), len(samples)
        unknown = f"The true labels of {count - known} of the {count} samples are unknown"
        warnings.append(f"{unknown}: the gate judges the other {known}.")
    if samples.left_out:
        warnings.append(
            f"{samples.left_out} examples differ in shape from the {len(samples)} that are used, and were left out."
        )
    if samples.made_up:
        warnings.append("The samples are made up: they only show that the export answers as the model does.")
    return warnings


def check_own_signatures(classifier: Classifier, own: OwnSignatures) -> None:
    """Refuse a user's signature that no sample fits, or whose answers cannot be judged."""
    known = {*names.LIMITS, *classifier.inputs.specs, *([names.ENCODED_IMAGES] if classifier.image_decoding else [])}
    for key, (input_form, output_form) in own.items():
        if unknown := sorted(set(input_form.inputs) - set(input_form.defaults) - known):
            raise ExportError(
                f"The signature {key!r} takes {unknown[0]!r}, which no sample holds: give it a default, or use one of "
                f"{', '.join(sorted(known))}."
            )
        for name in names.LIMITS:
            if name in input_form.inputs and name not in input_form.defaults:
                raise ExportError(
                    f"The signature {key!r} takes {name} without a default, which requests may omit: add one."
                )
        if form_of(output_form.outputs) is None:
            raise ExportError(
                f"The signature {key!r} answers {', '.join(output_form.outputs)}, which no check can judge: use one "
                "of our output forms, or add one to signatures.contract.answers."
            )


def check_gpu(gpu: GpuReadiness, require_gpu_kernels: bool) -> list[str]:
    """Warn if the backbone would leave the GPU.

    Raises:
        ValidationError: if it would and `require_gpu_kernels` is set.
    """
    if not gpu.cpu_ops_in_backbone:
        return []
    ops = ", ".join(gpu.cpu_ops_in_backbone)
    sentence = f"The model uses ops without a GPU kernel, and would leave the GPU and come back for each: {ops}."
    if require_gpu_kernels:
        raise ValidationError(sentence)
    return [sentence]
