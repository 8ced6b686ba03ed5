"""Validation of portability: any server can run the graph."""

import numpy as np
import tensorflow as tf

from exporter.errors import ValidationError
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.loaded import LoadedVersion

# Ops that call back into the Python process that created them, and so fail in any other process.
_PYTHON_OPS = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def validate_portability(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that all ops are TensorFlow's own and independent of this process, and that weights are stored once."""
    graph = version.graph_def
    ops = {node.op for node in graph.node}
    ops |= {node.op for function in graph.library.function for node in function.node_def}
    ops -= {function.signature.name for function in graph.library.function}
    if bound := sorted(ops & _PYTHON_OPS):
        raise ValidationError(f"The model calls Python code through {bound[0]}, which no server can run.")
    if foreign := sorted(op for op in ops if not hasattr(tf.raw_ops, op)):
        raise ValidationError(f"The model uses the op {foreign[0]}, which is not TensorFlow's own: no server has it.")
    stored = tf.train.load_checkpoint(str(version.directory / "variables" / "variables"))
    dtypes = stored.get_variable_to_dtype_map()
    size = sum(
        int(np.prod(shape)) * dtypes[name].size
        for name, shape in stored.get_variable_to_shape_map().items()
        if dtypes[name] != tf.string
    )
    if size > expected.weights:
        raise ValidationError(f"The variables take {size} bytes, but the model's take {expected.weights}.")
