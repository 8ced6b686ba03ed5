"""A SavedModel that Keras exported, as a Keras model again: its architecture is gone, its computation is not."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError, reason

# What keras.Model.export calls its endpoint.
_ENDPOINT = "serve"


def load_keras_export(directory: Path) -> Any:
    """Wrap the endpoint that `keras.Model.export` wrote into a functional model.

    The model has the inputs that were exported, by name, its variables and its tables. Its layers are gone: another
    precision cannot be chosen, and ids that an embedding does not have are not refused.

    Raises:
        ExportError: when Keras did not write it, or it takes inputs that no server's request could hold.

    Example:
        >>> load_keras_export(Path("exported")).inputs
        [<KerasTensor shape=(None, 32, 32, 1), dtype=float32, sparse=False, ragged=False, name=images>]
    """
    try:
        layer = keras.layers.TFSMLayer(str(directory), call_endpoint=_ENDPOINT)
        (function,) = layer.call_endpoint_fn.concrete_functions
        # What was exported takes the types that it says, not those that Keras computes in.
        layer.autocast = False
    except Exception as error:  # TensorFlow raises many kinds for files that are missing or cut off.
        raise ExportError(
            f"{directory} could not be loaded as a SavedModel that keras.Model.export wrote: {reason(error)}."
        ) from error
    arguments, named = function.structured_input_signature
    if len(arguments) != 1 or named:
        raise ExportError(f"{directory} takes {len(arguments) + len(named)} arguments; a Keras model takes one.")
    inputs = keras.tree.map_structure(lambda spec: _input(directory, spec), arguments[0])
    return keras.Model(inputs, layer(inputs))


def _input(directory: Path, spec: Any) -> Any:
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank or spec.shape[0] is not None:
        raise ExportError(f"{directory} takes {spec}; an input of any number of examples is needed, [B, ...].")
    return keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=spec.name)
