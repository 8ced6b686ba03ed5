"""Predict: any signature, with the server's checks in the server's order.

Sources: predict_util.cc of tensorflow_serving/servables/tensorflow, and tensorflow/cc/saved_model/util.cc.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2

from server.caller import Caller
from server.errors import ServingError, invalid_argument
from server.inference.servable import DEFAULT_SIGNATURE, Call, Servable
from server.tensors import decode, encode_into


def predict(servable: Servable, request: Any, caller: Caller) -> Any:
    """Answer a PredictRequest with a PredictResponse whose model_spec names the signature only."""
    key = request.model_spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
    signature = servable.signatures[key]
    feeds = _feeds(signature, request.inputs)
    outputs = _requested_outputs(signature, request.output_filter)
    call = Call(request.model_spec.name, "Predict", caller)
    values = servable.run(call, feeds, [signature.outputs[alias].name for alias in outputs])
    response = predict_pb2.PredictResponse()
    response.model_spec.signature_name = key
    for alias, value in zip(outputs, values, strict=True):
        encode_into(response.outputs[alias], value, as_content=servable.as_content)
    return response


def _feeds(signature: Any, inputs: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """Return the values to feed by tensor name: those of the request, and defaults of the signature for the others."""
    if len(inputs) > len(signature.inputs) or (len(inputs) < len(signature.inputs) and not signature.defaults):
        raise invalid_argument(
            f"input size does not match signature: {len(inputs)}!={len(signature.inputs)} len({_braced(inputs)}) != "
            f"len({_braced(signature.inputs)}). Sent extra: {_braced(set(inputs) - set(signature.inputs))}. "
            f"Missing but required: {_braced(set(signature.inputs) - set(inputs))}."
        )
    feeds = {}
    for alias, info in signature.inputs.items():
        if alias in inputs:
            proto = inputs[alias]
        elif alias in signature.defaults:
            proto = signature.defaults[alias]
        else:
            raise invalid_argument(
                f"Signature input alias: {alias}(feed name: {info.name}) not found in request and no default value "
                f"provided. Inputs expected to be in the request {_braced(inputs)}, or default input alias set: "
                f"{','.join(sorted(signature.defaults))}"
            )
        try:
            feeds[info.name] = decode(proto)
        except ValueError:
            raise invalid_argument(f"tensor parsing error: {alias}") from None
    if not set(inputs) <= set(signature.inputs):
        used = ",".join(sorted(set(inputs) & set(signature.inputs)))
        raise invalid_argument(
            f"Inputs contains invalid name. Used request inputs: {used}, request input: {','.join(sorted(inputs))}"
        )
    return feeds


def _requested_outputs(signature: Any, output_filter: Sequence[str]) -> list[str]:
    for position, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set "
                f"{_braced(signature.outputs)}."
            )
        if alias in output_filter[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or list(signature.outputs)


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
