"""--mixed_precision=bfloat16: a graph that computes in bfloat16 though it was exported in float32.

The real server lets TensorFlow's optimizer move convolutions and matrix products to bfloat16, which it does only on
CPUs that have instructions for it. The stand-in requests the same, and also rounds the variables to bfloat16, so that
the answers change on other CPUs, too.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import rewriter_config_pb2

_BFLOAT16 = "bfloat16"


def is_bfloat16(mode: str, log: Callable[[str], None]) -> bool:
    """Return whether the flag requests bfloat16; like the real server, warn about any other value and ignore it."""
    if mode and mode != _BFLOAT16:
        log(f"{mode} auto mixed precision is not supported. Valid option: {_BFLOAT16}")
    return mode == _BFLOAT16


def request_rewrite(config: Any) -> None:
    """Request the rewrite in the ConfigProto of a session."""
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON


def rounding_ops(graph: Any) -> list[Any]:
    """Add ops to a graph that round its float32 variables to bfloat16, and return them."""
    with graph.as_default():
        return [
            tf.raw_ops.AssignVariableOp(
                resource=operation.outputs[0],
                value=tf.cast(
                    tf.cast(tf.raw_ops.ReadVariableOp(resource=operation.outputs[0], dtype=tf.float32), tf.bfloat16),
                    tf.float32,
                ),
            )
            for operation in graph.get_operations()
            if operation.type == "VarHandleOp" and operation.get_attr("dtype") == tf.float32
        ]
