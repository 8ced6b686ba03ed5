"""Whether a new version would break the callers of the newest published one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from exporter.errors import ValidationError
from exporter.store.listing import read_record
from exporter.store.versions import VersionStore
from signatures.contract.interface import Interface, breaking_changes


def check_callers(store: VersionStore, after: Interface, forbid: bool) -> list[str]:
    """Return what a new version would break for callers of the newest published one, in one sentence each.

    Raises:
        ValidationError: when there is such a change, and `forbid` is set.
    """
    published = store.versions()
    before = published_interface(store.base_path / str(published[-1])) if published else None
    if before is None:
        return []
    version = f"version {published[-1]} of {store.base_path.name}"
    try:
        changes = breaking_changes(before, after)
    # Its export.json was edited.
    except (KeyError, TypeError, AttributeError):
        return [f"It is unknown what would break callers of {version}: its export.json was changed."]
    if changes and forbid:
        raise ValidationError(f"Callers of {version} would break: {'; '.join(changes)}.")
    return [f"Callers of {version} would break: {change}." for change in changes]


def published_interface(version: Path) -> Interface | None:
    """Return what callers of a published version rely on; None if it cannot be read.

    Another tool may have written the version. Its signatures are then those of its SavedModel.
    """
    record = read_record(version)
    if record is not None and record.signatures:
        return Interface(record.signatures, record.labels, record.preprocessing)
    try:
        saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
        declared = saved.meta_graphs[0].signature_def
        return Interface({key: _declared(each) for key, each in declared.items() if key[:2] != "__"}, ours=False)
    # TensorFlow raises a TypeError for a type that it does not know.
    except (OSError, DecodeError, IndexError, TypeError):
        return None


def _declared(definition: Any) -> dict[str, Any]:
    """Return a SignatureDef in the format of export.json."""

    def specs(infos: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                "dtype": tf.as_dtype(info.dtype).name,
                "shape": None
                if info.tensor_shape.unknown_rank
                else [dimension.size for dimension in info.tensor_shape.dim],
            }
            for name, info in infos.items()
        }

    inputs, outputs = specs(definition.inputs), specs(definition.outputs)
    return {"method": definition.method_name, "inputs": inputs, "outputs": outputs}
