"""From what a user names, a file or a preset, to a Classifier."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import ExportError

if TYPE_CHECKING:
    from exporter.classifier import Classifier

PRESETS_DIRECTORY = Path(__file__).parent / "presets"
PRESETS = ("digits",)


def load_classifier(source: str, name: str | None = None, activation: str | None = None) -> Classifier:
    """Load a preset or a `.keras` file.

    Args:
        source: a preset's name, or the path of a `.keras` file.
        name: what the server shall call the model; by default the preset's name or the file's stem.
        activation: "sigmoid" or "softmax", where the model's outputs are logits.

    Raises:
        ExportError: when there is no such file, or it is no Keras classifier.

    Example:
        >>> load_classifier("digits").labels
        ('0', '1', '2', '3', '4', '5', '6', '7')
    """
    if source in PRESETS:
        return _load_preset(source, name or source, activation)
    return _load_file(Path(source), name or Path(source).stem, activation)


def _load_preset(preset: str, name: str, activation: str | None) -> Classifier:
    from exporter.classifier import Classifier
    from signatures import names

    directory = PRESETS_DIRECTORY / preset
    return Classifier(
        model=_load_keras(directory / f"{preset}.keras"),
        name=name,
        labels=tuple((directory / "labels.txt").read_text().split()),
        preprocessing="unit",
        samples={names.IMAGES: _grey_pictures(directory / "samples")},
        activation=activation,
    )


def _load_file(path: Path, name: str, activation: str | None) -> Classifier:
    from exporter.classifier import Classifier, input_specs, output_size, synthetic_samples

    if not path.exists():
        raise ExportError(f"{path} does not exist; name a .keras file or one of the presets: {', '.join(PRESETS)}.")
    if not path.is_file() or path.suffix != ".keras":
        raise ExportError(f"{path} is no .keras file; save the model with model.save('NAME.keras') and name that file.")
    model = _load_keras(path)
    return Classifier(
        model=model,
        name=name,
        labels=tuple(str(index) for index in range(output_size(model))),
        preprocessing=None,
        samples=synthetic_samples(input_specs(model)),
        activation=activation,
    )


def _load_keras(path: Path) -> Any:
    import keras

    try:
        # Never code of the file's own: safe mode is Keras's default, and said here so that it stays.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras raises many kinds, for broken zips, unknown layers and unsafe ones.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExportError(f"{path} could not be loaded as a Keras model: {reason}") from error


def _grey_pictures(directory: Path) -> Any:
    import numpy as np
    from PIL import Image

    files = sorted(directory.glob("*.png"))
    pictures = [np.asarray(Image.open(file).convert("L"), np.float32) / 255 for file in files]
    return np.stack(pictures)[..., np.newaxis]


def preset_sample_labels(preset: str) -> dict[str, list[str]]:
    """The true labels of a preset's sample pictures, by file name."""
    labels: dict[str, list[str]] = json.loads((PRESETS_DIRECTORY / preset / "samples" / "labels.json").read_text())
    return labels
