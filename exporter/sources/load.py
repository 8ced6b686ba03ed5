"""From what a user names, a file, a factory or a preset, to a Classifier."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import ExportError, reason

if TYPE_CHECKING:
    from exporter.sources.classifier import Classifier

PRESETS = ("digits", "mobilenetv2", "resnet18")


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """What a user says of a model beyond where it is. None leaves it to the preset, or to what is found.

    Attributes:
        name: what the server calls the model; by default the preset's name or the file's stem.
        labels: the labels, by index.
        preprocessing: how pixels become the model's input, one of `names.PREPROCESSINGS`.
        samples: a folder of pictures, or a .npz or .tfrecord file: see `exporter.samples.files`.
        activation: "sigmoid" or "softmax", where the model's outputs are logits.
        weights: for the presets mobilenetv2 and resnet18: "none", "imagenet" or a file.
        max_image_pixels: width times height of the largest picture file that is decoded.
        allow_unsafe: load what runs code of its own: a file with Lambda layers, or a SavedModel.
        custom_objects: modules to import before loading, which register the model's own layers with Keras.
    """

    name: str | None = None
    labels: Sequence[str] = ()
    preprocessing: str | None = None
    samples: Path | None = None
    activation: str | None = None
    weights: str = "none"
    max_image_pixels: int = 64_000_000
    allow_unsafe: bool = False
    custom_objects: Sequence[str] = ()


def load_classifier(source: str, options: SourceOptions | None = None) -> Classifier:
    """Load a classifier.

    Args:
        source: a preset's name, the path of a `.keras` or `.h5` file or of a SavedModel that Keras exported, or
            "package.module:factory", a function without arguments that returns a Keras model.
        options: what else is known.

    Returns:
        The classifier, which has not run yet: `export` examines it, and reads its samples.

    Raises:
        ExportError: when there is no such thing, or it is no Keras model.

    Example:
        >>> load_classifier("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7')
    """
    options = options or SourceOptions()
    for module in options.custom_objects:
        _import(module)
    if source in PRESETS:
        return _preset(source, options)
    if ":" in source and not Path(source).exists():
        module, _, factory = source.partition(":")
        return _classifier(_made_by(module, factory), factory, options)
    path = Path(source)
    return _classifier(_load_file(path, options), path.stem, options)


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
    """Put together what the user says and, where nothing is said, what the source knows."""
    from exporter.sources.classifier import Classifier

    return Classifier(
        model=model,
        name=options.name or name,
        labels=tuple(options.labels or labels),
        preprocessing=options.preprocessing or preprocessing,
        activation=options.activation,
        max_image_pixels=options.max_image_pixels,
        untrained=untrained,
        sample_path=options.samples or samples,
    )


def _load_file(path: Path, options: SourceOptions) -> Any:
    if not path.exists():
        raise ExportError(f"{path} does not exist; name a .keras file or one of the presets: {', '.join(PRESETS)}.")
    if (path / "saved_model.pb").is_file():
        if not options.allow_unsafe:
            raise ExportError(
                f"{path} is a SavedModel, a program that may also read and write files: if you trust where it is from, "
                "pass --allow-unsafe."
            )
        from exporter.sources.keras_exports import load_keras_export

        return load_keras_export(path)
    if path.suffix not in (".keras", ".h5") or not path.is_file():
        raise ExportError(
            f"{path} is no .keras file, .h5 file or SavedModel: save the model with model.save('NAME.keras') and name "
            "that file."
        )
    import keras

    # Ours, which a model may hold: Keras then loads them without being told of them.
    importlib.import_module("signatures.layer")
    importlib.import_module("signatures.regularizer")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=not options.allow_unsafe)
    except Exception as error:  # Keras raises many kinds: for broken zips, unknown layers, code of the file's own.
        if "safe_mode" in str(error) or "unsafe" in str(error).lower():
            raise ExportError(
                f"{path} holds code of its own, such as a Lambda layer, that loading it would run: if you trust the "
                "file, pass --allow-unsafe."
            ) from error
        raise ExportError(f"{path} could not be loaded as a Keras model: {reason(error)}.") from error


def _made_by(module: str, factory: str) -> Any:
    import keras

    function = getattr(_import(module), factory, None)
    if not callable(function):
        raise ExportError(f"The module {module} has no function {factory!r}.")
    model = function()
    if not isinstance(model, keras.Model):
        raise ExportError(f"{module}:{factory} returned a {type(model).__name__}, not a Keras model.")
    return model


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExportError(f"The module {module} could not be imported: {error}.") from error
