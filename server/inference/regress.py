"""The tensors of a regression, and their values as one number for each example. Follows regressor.cc."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format

from server.errors import invalid_argument
from server.tensors import data_type_name, shape_text


def regression_tensors(signature: Any) -> tuple[str, list[str]]:
    """Return the name of the tensor that takes examples, and the name of the one that Regress reads."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    for aliases, kind in ((signature.inputs, "inputs"), (signature.outputs, "outputs")):
        if kind not in aliases:
            raise invalid_argument(
                f"No regression {kind} found in SignatureDef: {text_format.MessageToString(signature)}"
            )
    return signature.inputs["inputs"].name, [signature.outputs["outputs"].name]


def fill_regressions(result: Any, signature: Any, rows: int, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fill a RegressionResult from the values of tensors by name, which must have this number of rows."""
    output = values[signature.outputs["outputs"].name]
    if output.ndim != 1 and not (output.ndim == 2 and output.shape[1] == 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_text(output)}"
        )
    if output.shape[0] != rows:
        raise invalid_argument(f"Input batch size did not match output batch size: {rows} vs. {output.shape[0]}")
    if output.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {data_type_name(output)}")
    for value in output.ravel().tolist():
        result.regressions.add(value=value)
