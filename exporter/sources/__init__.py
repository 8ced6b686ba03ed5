"""Load a Classifier from a file, a factory function or a preset."""

from exporter.sources.load import PRESETS, SourceOptions, load_classifier

__all__ = ["PRESETS", "SourceOptions", "load_classifier"]
