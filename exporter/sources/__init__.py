"""From a path, a factory or a preset to a Classifier."""

from exporter.sources.load import PRESETS, SourceOptions, load_classifier

__all__ = ["PRESETS", "SourceOptions", "load_classifier"]
