"""Write the SavedModel: weights once, the traced signatures, and metadata that says what the graph accepts.

`keras.Model.export` and `ExportArchive` store every weight twice and trace more than once. A module that holds the
variables themselves instead of the model avoids both.
"""

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.core.protobuf import fingerprint_pb2, saved_model_pb2
from tensorflow.python.saved_model.pywrap_saved_model import fingerprinting

from exporter.errors import ExportError
from exporter.sources.saved_models import SavedModelEndpoint
from signatures import Signature

_SAVED_MODEL = "saved_model.pb"
_FINGERPRINT = "fingerprint.pb"


class _Lines(tf.lookup.TextFileInitializer):  # type: ignore[misc]  # TensorFlow has no types.
    """Fills a table with the lines of a file, by number, when a server loads the version."""

    def __init__(self, file: Path) -> None:
        index = tf.lookup.TextFileIndex
        super().__init__(str(file), tf.int64, index.LINE_NUMBER, tf.string, index.WHOLE_LINE)

    @property
    def _shared_name(self) -> str:
        # TensorFlow's default contains the file's path, which would make every export's graph different.
        return "export_id"


def exported_variables(model: Any) -> list[Any]:
    """Return the variables that a served model needs: all but the random seeds, which only training uses."""
    return [variable.value for variable in model.variables if "seed_generator" not in variable.path]


def write_saved_model(
    directory: Path, model: Any, export_id: str, sign: Callable[[Callable[[], tf.Tensor]], Sequence[Signature]]
) -> Sequence[Signature]:
    """Write the SavedModel of a Keras model with the signatures that `sign` makes.

    The files of two exports of one model differ only in the export id: it is read from a file in `assets/`, while the
    graph and the variables are the same to the byte.

    Args:
        directory: an existing directory to write into.
        model: the Keras model whose variables the signatures use.
        export_id: the digits that identify this export.
        sign: builds the signatures from a function that returns the export id as a scalar string tensor.
    """
    module = tf.Module()
    # The module must hold everything that the signatures use.
    module.variables_of_model = exported_variables(model)
    module.tables_of_model = _tables(model)
    with tempfile.TemporaryDirectory() as scratch:
        asset = Path(scratch, "export_id")
        asset.write_text(export_id)
        module.export_id = tf.lookup.StaticHashTable(_Lines(asset), default_value="")
        signatures = sign(lambda: module.export_id.lookup(tf.zeros([], tf.int64)))
        functions = {signature.key: signature.function for signature in signatures}
        with _untracked_resources():
            tf.saved_model.save(module, str(directory), signatures=functions)
    _declare(directory, signatures)
    return signatures


@contextmanager
def _untracked_resources() -> Iterator[None]:
    """Name the variable or table that a model uses but Keras does not track, in place of TensorFlow's error."""
    try:
        yield
    except AssertionError as error:
        found = re.search(r"Trackable referencing this tensor = (.*)", str(error))
        if not found:
            raise
        raise ExportError(
            f"The model uses {found[1]}, which Keras does not track, so no file would hold it: create it with the "
            "layer's add_weight, or use one of Keras's lookup layers."
        ) from error


def _tables(model: Any) -> list[Any]:
    tables: list[Any] = []
    for layer in model._flatten_layers():
        if getattr(layer, "lookup_table", None) is not None:
            tables.append(layer.lookup_table)
        elif isinstance(layer, SavedModelEndpoint):
            tables.extend(layer.resources)
        elif isinstance(layer, keras.layers.TFSMLayer):
            # Keras's export stores them here.
            tables.extend(getattr(layer._reloaded_obj, "_misc_assets", ()))
    return tables


def _declare(directory: Path, signatures: Sequence[Signature]) -> None:
    """Write the declared shapes and methods into the SignatureDefs, and renew the fingerprint.

    The graph's placeholders have no shape, so that its guards are not optimized away (see `signatures.guards`). Only
    the metadata, which people and clients read, says what the guards let through.
    """
    file = directory / _SAVED_MODEL
    saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for signature in signatures:
        definition = saved.meta_graphs[0].signature_def[signature.key]
        definition.method_name = signature.method
        for infos, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for name, spec in specs.items():
                infos[name].tensor_shape.CopyFrom(spec.shape.as_proto())
    file.write_bytes(saved.SerializeToString(deterministic=True))

    fingerprint = fingerprint_pb2.FingerprintDef.FromString(fingerprinting.CreateFingerprintDef(str(directory)))
    # TensorFlow would draw a random one.
    fingerprint.uuid = str(fingerprint.saved_model_checksum)
    (directory / _FINGERPRINT).write_bytes(fingerprint.SerializeToString(deterministic=True))
