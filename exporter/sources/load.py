"""Load a Classifier from a file, a factory function or a preset."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import ExportError, reason
from exporter.origin import source_digest
from exporter.sources import user_modules

if TYPE_CHECKING:
    from exporter.sources.classifier import Classifier

PRESETS = ("digits", "mobilenetv2", "resnet18")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a user specifies about a model besides its source. The defaults leave each value to the preset or the file.

    Attributes:
        name: the name that the server uses for the model; by default the preset's name or the file's stem.
        labels: the labels, by index.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`.
        samples: a folder of images, or a .npz, .jsonl or .tfrecord file; see `exporter.samples.files`.
        activation: "sigmoid" or "softmax" for a model that outputs logits.
        weights: "none", "imagenet" or a file, for the presets mobilenetv2 and resnet18.
        max_image_pixels: width times height of the largest image file that is decoded.
        input_names: new names for the model's inputs, by the names that they would have.
        endpoint: the signature of a SavedModel to export, or a traced function in it.
        output_name: the output that holds the scores, if the model has several.
        also_outputs: other outputs, which are served unchanged.
        allow_unsafe: also load what brings its own code: a file with Lambda layers, or a SavedModel.
        custom_objects: modules to import before loading; they register the model's own layers with Keras.

    Example:
        >>> load_classifier("digits", SourceOptions(name="numbers")).name
        'numbers'
    """

    name: str | None = None
    labels: Sequence[str] = ()
    preprocessing: str | None = None
    samples: Path | None = None
    activation: str | None = None
    weights: str = "none"
    max_image_pixels: int = 64_000_000
    input_names: Mapping[str, str] = field(default_factory=dict)
    endpoint: str | None = None
    output_name: str | None = None
    also_outputs: Sequence[str] = ()
    allow_unsafe: bool = False
    custom_objects: Sequence[str] = ()


def load_classifier(source: Any, options: SourceOptions | None = None) -> Classifier:
    """Load a classifier.

    Args:
        source: a Keras model; or a preset's name, the path of a `.keras` or `.h5` file or of a SavedModel, or
            "package.module:factory", a function without arguments that returns a Keras model.
        options: what else is known about the model.

    Returns:
        The classifier. It has not run yet: `export` reads the samples and tries the model.

    Raises:
        ExportError: when the source does not exist or is not a Keras model.

    Example:
        >>> load_classifier("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7')
    """
    options = options or SourceOptions()
    path = Path(source) if isinstance(source, str | Path) else None
    if options.endpoint is not None and not (path and (path / "saved_model.pb").is_file()):
        raise ExportError("--endpoint picks a signature of a SavedModel, and the model is not one: leave it out.")
    for module in options.custom_objects:
        user_modules.import_module(module)
    if path is None:
        return _of_model(source, options)
    if source in PRESETS:
        return _preset(source, options)
    if isinstance(source, str) and ":" in source and not path.exists():
        module, _, factory = source.partition(":")
        return _classifier(_made_by(module, factory), factory, options)
    return replace(_classifier(_load_file(path, options), path.stem, options), source_digest=source_digest(path))


def _preset(preset: str, options: SourceOptions) -> Classifier:
    loaded = importlib.import_module(f"exporter.presets.{preset}").load(options.weights)
    return _classifier(
        loaded.model,
        preset,
        options,
        loaded.labels,
        loaded.preprocessing,
        loaded.sample_path,
        untrained=loaded.untrained,
    )


def _classifier(
    model: Any,
    name: str,
    options: SourceOptions,
    labels: Sequence[str] = (),
    preprocessing: str | None = None,
    samples: Path | None = None,
    untrained: bool = False,
) -> Classifier:
    """Combine the user's options with what the source knows; the options win."""
    from exporter.sources.classifier import Classifier

    return Classifier(
        model=model,
        name=options.name or name,
        labels=tuple(options.labels or labels),
        preprocessing=options.preprocessing or preprocessing,
        activation=options.activation,
        max_image_pixels=options.max_image_pixels,
        input_names=options.input_names,
        output_name=options.output_name,
        also_outputs=tuple(options.also_outputs),
        untrained=untrained,
        sample_path=options.samples or samples,
    )


def _load_file(path: Path, options: SourceOptions) -> Any:
    if not path.exists():
        raise ExportError(f"{path} does not exist; pass a .keras file or one of the presets: {', '.join(PRESETS)}.")
    if (path / "saved_model.pb").is_file():
        if not options.allow_unsafe:
            raise ExportError(
                f"{path} is a SavedModel, a program that may also read and write files: if you trust its source, "
                "pass --allow-unsafe."
            )
        from exporter.sources.saved_models import load_saved_model

        return load_saved_model(path, options.endpoint)
    if path.suffix not in (".keras", ".h5") or not path.is_file():
        raise ExportError(
            f"{path} is not a .keras file, .h5 file or SavedModel: save the model with model.save('NAME.keras') and "
            "pass that file."
        )
    import keras

    # A model may hold our layers: importing them registers them with Keras.
    importlib.import_module("signatures.layer")
    importlib.import_module("signatures.regularizer")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not options.allow_unsafe)
    except Exception as error:  # Keras raises many kinds: for broken zips, unknown layers, the file's own code.
        if "safe_mode" in str(error) or "unsafe" in str(error).lower():
            raise ExportError(
                f"{path} holds its own code, such as a Lambda layer, and loading it would run that code: if you trust "
                "the file, pass --allow-unsafe."
            ) from error
        raise ExportError(f"{path} could not be loaded as a Keras model: {reason(error)}.") from error


def _made_by(module: str, factory: str) -> Any:
    import keras

    model = user_modules.call(module, factory)
    if not isinstance(model, keras.Model):
        raise ExportError(f"{module}:{factory} returned a {type(model).__name__}, not a Keras model.")
    return model


def _of_model(model: Any, options: SourceOptions) -> Classifier:
    import keras

    if not isinstance(model, keras.Model):
        raise ExportError(
            f"A {type(model).__name__} cannot be exported: pass a path, a preset's name or a Keras model."
        )
    # Keras numbers the models that were given no name, as in functional_3.
    made_up = re.fullmatch(r"(functional|sequential|model)_\d+", model.name)
    return _classifier(model, made_up[1] if made_up else model.name, options)
