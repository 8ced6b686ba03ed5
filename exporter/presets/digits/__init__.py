"""The preset `digits`: a trained model that ships, its sample pictures, and the script that trained it."""

from importlib import import_module
from pathlib import Path

from exporter.presets.preset import Preset

_HERE = Path(__file__).parent


def load(weights: str) -> Preset:
    """Load the trained model; it has no other weights."""
    import keras

    # Which the model holds: Keras then loads it without being told of them.
    import_module("signatures.layer")
    import_module("signatures.regularizer")
    return Preset(
        model=keras.saving.load_model(_HERE / "digits.keras", compile=False),
        preprocessing="unit",
        labels=tuple((_HERE / "labels.txt").read_text().split()),
        sample_path=_HERE / "samples",
    )
