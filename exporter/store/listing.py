"""List the published versions of every model in an output directory, as their export.json describes them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exporter.errors import StoreError
from exporter.store.versions import VersionStore
from signatures.contract.record import ExportRecord, RecordError


@dataclass(frozen=True)
class VersionRecord:
    """One published version.

    Attributes:
        model: the model's name.
        version: the number.
        bytes: the size of its files.
        created: when it was exported, in ISO 8601. This and the following are None if another tool wrote the version.
        k: the default k.
        tensorflow: the TensorFlow release that exported it.
        export_id: the export id that its `export_info` answers.
        labels: the version labels that deploy/models.config gives it.
        git_commit: the commit of the repository that it was exported in; None outside one.
        source_digest: SHA-256 of the model's file or directory; None for a model without one.
        metadata: what the user recorded about the export, by name.
    """

    model: str
    version: int
    bytes: int
    created: str | None = None
    k: int | None = None
    tensorflow: str | None = None
    export_id: str | None = None
    labels: tuple[str, ...] = ()
    git_commit: str | None = None
    source_digest: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def list_versions(output: Path, labels: Mapping[str, Mapping[int, Sequence[str]]] | None = None) -> list[VersionRecord]:
    """List the versions of every model below `output`.

    Args:
        output: the directory that holds the base path of each model.
        labels: the version labels, by model and version.

    Raises:
        StoreError: when the directory cannot be read.
    """
    known = labels or {}
    try:
        models = sorted(child for child in output.iterdir() if child.is_dir())
        return [
            _record(model, version, known.get(model.name, {}).get(version, ()))
            for model in models
            for version in VersionStore(model).versions()
        ]
    except OSError as error:
        raise StoreError(f"{output} cannot be read: {error.strerror}.") from error


def read_record(version: Path) -> ExportRecord | None:
    """Return the record in a version's directory; None if another tool or a newer release of sparsehead wrote it."""
    try:
        return ExportRecord.read(version)
    except RecordError:
        return None


def _record(model: Path, version: int, labels: Sequence[str]) -> VersionRecord:
    directory = model / str(version)
    size = sum(file.stat().st_size for file in directory.rglob("*") if file.is_file())
    record = read_record(directory)
    known = {} if record is None else {"k": record.k, "tensorflow": record.tensorflow, **record.origin}
    return VersionRecord(model.name, version, size, labels=tuple(labels), **known)
