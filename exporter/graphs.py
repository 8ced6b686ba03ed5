"""What the nodes of a TensorFlow graph refer to."""

from collections.abc import Iterator
from typing import Any

from tensorflow.python.framework import op_def_registry


def producer(tensor: str) -> str:
    """Return the name of the node that computes an input of another node.

    Example:
        >>> producer("^Assert"), producer("split:1")
        ('Assert', 'split')
    """
    return tensor.removeprefix("^").partition(":")[0]


def called_functions(node: Any) -> Iterator[str]:
    """Yield the names of the functions that a node calls."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        yield from (function.name for function in value.list.func)


def attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node, including defaults, which a SavedModel leaves out."""
    definition = op_def_registry.get(node.op)
    declared = definition.attr if definition is not None else ()
    return {attr.name: attr.default_value for attr in declared} | dict(node.attr.items())
