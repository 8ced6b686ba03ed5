"""Replace the reference variables of TensorFlow 1, which TensorFlow 2 cannot save, with variables that it can."""

from typing import Any

import tensorflow as tf
from tensorflow.core.framework import graph_pb2

_REFERENCES = ("Variable", "VariableV2")


class WithoutReferences(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """A signature of a SavedModel of TensorFlow 1, with variables of TensorFlow 2 in place of its own.

    Attributes:
        function: the traced function that computes what the signature does.
        values: the new variables, by the names of those that they replace.
    """

    def __init__(self, loaded: Any, signature: Any) -> None:
        super().__init__()
        self.initializer, self.asset_paths = loaded.initializer, loaded.asset_paths
        self.loaded_variables = loaded.variables
        graph, references = signature.graph.as_graph_def(), _references(signature)
        self.values = {name: tf.Variable(_value(loaded, name), name=name, trainable=False) for name in references}
        pruned = _without(graph, references)
        inner = {tensor.name: captured for captured, tensor in signature.graph.captures}
        _, specs = signature.structured_input_signature
        received = dict(zip(sorted(specs), _placeholders(signature), strict=True))
        names, outputs = zip(*signature.structured_outputs.items(), strict=True)

        def compute(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
            capture = tf.compat.v1.get_default_graph().capture
            replaced = {
                **{tensor.name: inputs[name] for name, tensor in received.items()},
                **{name: capture(captured) for name, captured in inner.items()},
                **{f"{name}:0": variable.read_value() for name, variable in self.values.items()},
            }
            found = tf.graph_util.import_graph_def(
                pruned, replaced, [tensor.name for tensor in outputs], name="tensorflow_1"
            )
            return dict(zip(names, found, strict=True))

        self.function = tf.function(compute, autograph=False).get_concrete_function(**specs)


def has_references(signature: Any) -> bool:
    """Return whether a function of a loaded SavedModel reads reference variables."""
    return bool(_references(signature))


def _value(loaded: Any, reference: str) -> tf.Tensor:
    """Return the restored value of a reference variable, which only a run of the graph can read."""
    with loaded.graph.as_default():
        value = tf.identity(loaded.graph.get_tensor_by_name(f"{reference}:0"))
    return loaded.prune([], value)()


def _references(signature: Any) -> list[str]:
    return [node.name for node in signature.graph.as_graph_def().node if node.op in _REFERENCES]


def _placeholders(signature: Any) -> list[Any]:
    """Return the tensors of a graph that receive its inputs, in the order of the inputs' names."""
    inner = {id(tensor) for _, tensor in signature.graph.captures}
    return [tensor for tensor in signature.graph.inputs if id(tensor) not in inner]


def _without(graph: graph_pb2.GraphDef, references: list[str]) -> graph_pb2.GraphDef:
    """Return a graph without some nodes, and without the attributes that place others beside these."""
    kept = graph_pb2.GraphDef(library=graph.library, versions=graph.versions)
    for node in graph.node:
        if node.name not in references:
            kept.node.add().CopyFrom(node)
            kept.node[-1].attr.pop("_class", None)
    return kept
