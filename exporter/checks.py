"""What is refused before any work is done, and what a person should know."""

from collections.abc import Mapping
from typing import TypeAlias

import tensorflow as tf

from exporter.errors import ExportError, ValidationError
from exporter.options import ExportOptions
from exporter.samples.samples import Samples
from exporter.server_images import check_image
from exporter.sources.classifier import Classifier
from exporter.validation.batching import values_that_fail_others
from exporter.validation.gpu_kernels import GpuReadiness
from exporter.validation.on_server.target import images_of
from signatures import InputForm, OutputForm
from signatures.batching import variable_dimensions
from signatures.contract import names
from signatures.contract.answers import form_of

# By key, the two halves of each signature that a user adds to ours.
OwnSignatures: TypeAlias = Mapping[str, tuple[InputForm, OutputForm]]


def check_options(classifier: Classifier, samples: Samples, k: int, options: ExportOptions) -> list[str]:
    """Refuse what cannot be served before any work is done, and return what a person should know."""
    labels = len(classifier.labels)
    if not 1 <= k <= labels:
        raise ExportError(f"k = {k} cannot be the default for {labels} labels: use a number from 1 to {labels}.")
    if options.golden_output and options.golden_output.is_dir():
        raise ExportError(f"The golden records cannot be written to {options.golden_output}: it is a directory.")
    strings = [name for name, spec in classifier.inputs.specs.items() if spec.dtype == tf.string]
    if options.jit_compile and strings:
        raise ExportError(f"XLA compiles no strings, which the model takes as {strings[0]}: leave out --jit-compile.")
    warnings = []
    for image in images_of(options.validate_on, options.image):
        for problem in check_image(image, tf.__version__, jit_compile=options.jit_compile):
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
    return warnings + _about_samples(samples)


def _about_samples(samples: Samples) -> list[str]:
    warnings = []
    if samples.known is not None and not samples.known.all():
        known, count = int(samples.known.sum()), len(samples)
        unknown = f"The true labels of {count - known} of the {count} samples are not known"
        warnings.append(f"{unknown}: the gate judges the other {known}.")
    if samples.made_up:
        warnings.append("The samples are made up: they show that the export answers as the model does, no more.")
    return warnings


def check_own_signatures(classifier: Classifier, own: OwnSignatures) -> None:
    """Refuse a signature of the user's own that no sample fits, or whose answers nobody knows how to judge."""
    known = {names.K, *classifier.inputs.specs, *([names.ENCODED_IMAGES] if classifier.image_decoding else [])}
    for key, (taken, answer) in own.items():
        if unknown := sorted(set(taken.inputs) - set(taken.defaults) - known):
            raise ExportError(
                f"The signature {key!r} takes {unknown[0]!r}, which no sample holds: give it a default, or use one of "
                f"{', '.join(sorted(known))}."
            )
        if names.K in taken.inputs and names.K not in taken.defaults:
            raise ExportError(f"The signature {key!r} takes k without a default, which requests may omit: add one.")
        if form_of(answer.outputs) is None:
            raise ExportError(
                f"The signature {key!r} answers {', '.join(answer.outputs)}, which no check knows how to judge: use an "
                "output form of ours, or add one to signatures.contract.answers."
            )


def check_gpu(gpu: GpuReadiness, require_gpu_kernels: bool) -> list[str]:
    """Refuse, or say, that the backbone would leave the GPU.

    Raises:
        ValidationError: when it would and `require_gpu_kernels` is set.
    """
    if not gpu.cpu_ops_in_backbone:
        return []
    ops = ", ".join(gpu.cpu_ops_in_backbone)
    sentence = f"The model uses ops that have no GPU kernel, and would leave the GPU and come back for each: {ops}."
    if require_gpu_kernels:
        raise ValidationError(sentence)
    return [sentence]
