"""The preset `digits`: a trained model, its sample images, and the script that trained it."""

from importlib import import_module
from pathlib import Path

from exporter.presets.preset import Preset

_HERE = Path(__file__).parent


def load(weights: str) -> Preset:
    """Load the trained model. `weights` has no effect: there are no others."""
    import keras

    # The model holds our layers: importing them registers them with Keras.
    import_module("signatures.layer")
    import_module("signatures.regularizer")
    return Preset(
        model=keras.saving.load_model(_HERE / "digits.keras", compile=False),
        preprocessing="unit",
        labels=tuple((_HERE / "labels.txt").read_text().split()),
        sample_path=_HERE / "samples",
    )
