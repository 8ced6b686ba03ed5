"""Regress: examples in, one number each out. Follows regressor.cc of tensorflow_serving/servables/tensorflow."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_serving.apis import regression_pb2

from server.errors import invalid_argument
from server.inference.examples import INPUTS, data_type_of, find_signature, serialized_examples, shape_of
from server.inference.servable import Call, Servable

METHOD = "tensorflow/serving/regress"
_OUTPUTS = "outputs"


def regress(servable: Servable, request: Any, is_wanted: Callable[[], bool]) -> Any:
    """Answer a RegressionRequest with a RegressionResponse whose model_spec names the signature only.

    Raises:
        ServingError: a signature that cannot regress, no examples, or what the graph says.

    """
    key, signature = find_signature(servable, request.model_spec)
    input_name, fetches = regression_tensors(signature)
    examples = serialized_examples(request.input)
    call = Call(request.model_spec.name, "Regress", is_wanted)
    values = dict(zip(fetches, servable.run(call, {input_name: examples}, fetches), strict=True))
    response = regression_pb2.RegressionResponse()
    response.model_spec.signature_name = key
    fill_regressions(response.result, signature, len(examples), values)
    return response


def regression_tensors(signature: Any) -> tuple[str, list[str]]:
    """Return the names of the tensor that takes examples, and of the one that Regress reads.

    Raises:
        ServingError: the signature has other inputs or outputs.

    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid_argument("Expected one output Tensor.")
    if INPUTS not in signature.inputs:
        raise invalid_argument(f"No regression inputs found in SignatureDef: {text_format.MessageToString(signature)}")
    if _OUTPUTS not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {text_format.MessageToString(signature)}")
    return signature.inputs[INPUTS].name, [signature.outputs[_OUTPUTS].name]


def fill_regressions(result: Any, signature: Any, rows: int, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fill a RegressionResult from the values of tensors by name.

    Raises:
        ServingError: a value that is not one number for each of so many rows.

    """
    output = values[signature.outputs[_OUTPUTS].name]
    if output.ndim != 1 and not (output.ndim == 2 and output.shape[1] == 1):
        raise invalid_argument(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {shape_of(output)}"
        )
    if output.shape[0] != rows:
        raise invalid_argument(f"Input batch size did not match output batch size: {rows} vs. {output.shape[0]}")
    if output.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {data_type_of(output)}")
    for value in output.ravel().tolist():
        result.regressions.add(value=value)
