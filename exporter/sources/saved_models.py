"""Wrap a SavedModel in a Keras model, which has none of its layers but computes what one of its endpoints does."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from exporter.errors import ExportError, reason
from exporter.sources.reference_variables import WithoutReferences, has_references

# If no endpoint is named: Keras's own, then the one that every other tool writes.
_USUAL = ("serve", "serving_default")

# The tag of the graph that a server loads.
_TAGS = ("serve",)


class SavedModelEndpoint(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """A layer that computes what an endpoint of a SavedModel does.

    Attributes:
        function: the traced function behind the endpoint.
        resources: the tables that it looks things up in, and whatever fills them.
    """

    def __init__(self, loaded: Any, endpoint: Any) -> None:
        # The endpoint takes the types that it declares, not those that Keras computes in.
        super().__init__(autocast=False)
        # What holds the variables must live as long as the function.
        self.loaded = loaded
        self.endpoint = endpoint
        self.function = _concrete(endpoint)
        self.resources = captured_resources(loaded, self.function)
        for variable in _captured(loaded, self.function, tf.Variable):
            self._track_variable(
                keras.Variable(
                    variable,
                    trainable=variable.trainable,
                    dtype=variable.dtype.name,
                    shape=variable.shape,
                    # In Keras, a name has no slashes.
                    name=variable.name.replace("/", "_"),
                )
            )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Call the endpoint with its arguments, `(args, kwargs)`."""
        arguments, named = inputs
        return self.endpoint(*arguments, **named)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Return the declared outputs without running the endpoint."""
        return keras.tree.map_structure(
            lambda output: keras.KerasTensor(output.shape if output.shape.rank else (None,), output.dtype.name),
            self.function.structured_outputs,
        )


def load_saved_model(directory: Path, endpoint: str | None = None) -> Any:
    """Wrap an endpoint of a SavedModel in a functional Keras model.

    The model has the endpoint's inputs, by name, and its variables and tables. Its layers are gone: another precision
    cannot be chosen, and ids that an embedding does not have are not refused.

    Args:
        directory: the SavedModel's.
        endpoint: the key of a signature or the name of a traced function; by default `serve`, which Keras writes, or
            `serving_default`, or the only signature.

    Raises:
        ExportError: when it cannot be loaded, there is no such endpoint, or no request could hold its inputs.

    Example:
        >>> load_saved_model(Path("exported")).inputs
        [<KerasTensor shape=(None, 32, 32, 1), dtype=float32, sparse=False, ragged=False, name=images>]
    """
    try:
        loaded = tf.saved_model.load(str(directory), tags=list(_TAGS))
    except Exception as error:  # TensorFlow raises many kinds for files that are missing or cut off.
        raise ExportError(f"{directory} could not be loaded as a SavedModel: {reason(error)}.") from error
    chosen = _choose(directory, loaded, endpoint)
    if has_references(_concrete(chosen)):
        loaded = WithoutReferences(loaded, chosen)
        chosen = loaded.function
    layer = SavedModelEndpoint(loaded, chosen)
    structure = layer.function.structured_input_signature
    specs = keras.tree.flatten(structure)
    if not specs:
        raise ExportError(f"{directory} takes no inputs: name another signature with --endpoint.")
    inputs = [_input(directory, spec) for spec in specs]
    return keras.Model(inputs, layer(keras.tree.pack_sequence_as(structure, inputs)))


def captured_resources(loaded: Any, function: Any) -> list[Any]:
    """Return the trackable objects, besides variables, that a function of a loaded SavedModel needs."""
    found = _captured(loaded, function, tf.saved_model.experimental.TrackableResource)
    # A SavedModel of TensorFlow 1 has no object for each table, but one that fills them all from files.
    initializer = getattr(loaded, "initializer", None)
    if initializer is not None and any("HashTable" in node.op for node in function.graph.as_graph_def().node):
        found += [initializer, *loaded.asset_paths]
    return found


def _captured(loaded: Any, function: Any, kind: type) -> list[Any]:
    """Return the objects of a kind in a loaded SavedModel whose handles a function captures."""
    handles = {id(tensor) for tensor in function.captured_inputs}
    found = [each for each in tf.train.TrackableView(loaded).descendants() if isinstance(each, kind)]
    return [each for each in found if id(getattr(each, "handle", getattr(each, "resource_handle", None))) in handles]


def _choose(directory: Path, loaded: Any, endpoint: str | None) -> Any:
    """Return a signature or a traced function; if both have the name, the signature."""
    functions = {name: value for name, value in vars(loaded).items() if getattr(value, "concrete_functions", None)}
    functions = {name: value for name, value in functions.items() if not name.startswith("_")}
    signatures = dict(getattr(loaded, "signatures", {}))
    endpoints = {**functions, **signatures}
    if not endpoints:
        raise ExportError(
            f"{directory} has no signature and no traced function, and so nothing to serve: save it with "
            "tf.saved_model.save(MODULE, DIRECTORY, signatures=FUNCTION)."
        )
    listed = ", ".join(sorted(endpoints))
    if endpoint is None:
        found = [name for name in _USUAL if name in endpoints] or list(signatures or functions)
        if len(found) > 1 and found[0] not in _USUAL:
            raise ExportError(f"{directory} has the endpoints {listed}: choose one with --endpoint.")
        endpoint = found[0]
    if endpoint not in endpoints:
        raise ExportError(f"{directory} has no endpoint {endpoint!r}: choose one of {listed} with --endpoint.")
    traces = getattr(endpoints[endpoint], "concrete_functions", [None])
    if len(traces) != 1:
        raise ExportError(
            f"{directory} has {len(traces)} traces of {endpoint}, for arguments of different types or shapes: choose a "
            "signature with --endpoint, or save it with one of this name."
        )
    return endpoints[endpoint]


def _concrete(endpoint: Any) -> Any:
    return endpoint.concrete_functions[0] if hasattr(endpoint, "concrete_functions") else endpoint


def _input(directory: Path, spec: Any) -> Any:
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.rank or spec.shape[0] is not None:
        raise ExportError(f"{directory} takes {spec}; an input of any number of examples is needed, [B, ...].")
    return keras.Input(spec.shape[1:], dtype=spec.dtype.name, name=spec.name)
