"""Load a SavedModel that Keras exported as a Keras model: its layers are gone, but it computes the same."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError, reason

# The name that keras.Model.export gives its endpoint.
_ENDPOINT = "serve"


def load_keras_export(directory: Path) -> Any:
    """Wrap the endpoint that `keras.Model.export` wrote into a functional model.

    The result has the exported inputs, by name, and all variables and tables. Its layers are gone, so its precision
    cannot be changed, and ids outside of an embedding are not refused.

    Raises:
        ExportError: when Keras did not write it, or a request could not hold its inputs.

    Example:
        >>> load_keras_export(Path("exported")).inputs
        [<KerasTensor shape=(None, 32, 32, 1), dtype=float32, sparse=False, ragged=False, name=images>]
    """
    try:
        layer = keras.layers.TFSMLayer(str(directory), call_endpoint=_ENDPOINT)
        (function,) = layer.call_endpoint_fn.concrete_functions
        # The endpoint takes the types that it declares, whatever precision Keras computes in.
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
        raise ExportError(f"{directory} takes {spec}; an input needs the shape [B, ...], for any number of examples B.")
    return keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=spec.name)
