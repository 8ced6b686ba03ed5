"""Load weights from a file into presets that are built in code."""

from pathlib import Path
from typing import Any

from exporter.errors import ExportError, reason


def load_weights(model: Any, file: Path) -> None:
    """Load the weights that `model.save_weights(file)` wrote for the same architecture.

    Raises:
        ExportError: when the file does not exist, or its weights are another model's.
    """
    if not file.is_file():
        raise ExportError(f"There is no weights file {file}; write one with model.save_weights('NAME.weights.h5').")
    try:
        model.load_weights(file)
    except Exception as error:  # Keras raises many kinds: for broken files, unknown suffixes, other models' weights.
        raise ExportError(f"{file} does not hold the weights of {model.name}: {reason(error)}.") from error
