"""Weights from a file for the presets that are built rather than loaded."""

from pathlib import Path
from typing import Any

from exporter.errors import ExportError, reason


def load_weights(model: Any, file: Path) -> None:
    """Give `model` the weights that `model.save_weights(file)` wrote of one built alike.

    Raises:
        ExportError: when there is no such file, or its weights are another model's.
    """
    if not file.is_file():
        raise ExportError(f"There is no weights file {file}; write one with model.save_weights('NAME.weights.h5').")
    try:
        model.load_weights(file)
    except Exception as error:  # Keras raises many kinds, for broken files, unknown endings and other models' weights.
        raise ExportError(f"{file} does not hold the weights of {model.name}: {reason(error)}.") from error
