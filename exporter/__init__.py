"""From a trained Keras classifier to a published version that a TensorFlow server can load.

The public names are loaded on first use, so that `export-model --help` does not wait for TensorFlow.

Example:
    >>> from exporter import export, load_classifier
    >>> export(load_classifier("digits"), Path("models"), k=2).path
    PosixPath('models/digits/1')
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from exporter.checks import OwnSignatures
    from exporter.errors import ExportError, StoreError, ValidationError
    from exporter.options import ExportOptions
    from exporter.pipeline import PublishedVersion, export
    from exporter.samples.samples import Samples
    from exporter.sources.classifier import Classifier
    from exporter.sources.load import SourceOptions, load_classifier
    from exporter.store.versions import VersionStore

_HOME = {
    "Classifier": "exporter.sources.classifier",
    "ExportError": "exporter.errors",
    "ExportOptions": "exporter.options",
    "ValidationError": "exporter.errors",
    "OwnSignatures": "exporter.checks",
    "PublishedVersion": "exporter.pipeline",
    "Samples": "exporter.samples.samples",
    "SourceOptions": "exporter.sources.load",
    "StoreError": "exporter.errors",
    "VersionStore": "exporter.store.versions",
    "export": "exporter.pipeline",
    "load_classifier": "exporter.sources.load",
}

__all__ = [
    "Classifier",
    "ExportError",
    "ExportOptions",
    "OwnSignatures",
    "PublishedVersion",
    "Samples",
    "SourceOptions",
    "StoreError",
    "ValidationError",
    "VersionStore",
    "export",
    "load_classifier",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'exporter' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
