"""What Classify, Regress and MultiInference share: requests of tf.Example, and the signatures that take them."""

from typing import Any

import numpy as np

from server.errors import invalid_argument
from server.inference.servable import DEFAULT_SIGNATURE, Servable
from server.tensors import type_name

INPUTS = "inputs"


def find_signature(servable: Servable, model_spec: Any) -> tuple[str, Any]:
    """Return the key and the SignatureDef that a ModelSpec names.

    Raises:
        ServingError: there is no such signature.

    """
    key = model_spec.signature_name or DEFAULT_SIGNATURE
    if key not in servable.signatures:
        raise invalid_argument(f"No signature was found with the name: {key}")
    return key, servable.signatures[key]


def serialized_examples(given: Any) -> np.ndarray[Any, Any]:
    """Return the serialized examples of an Input message, each merged with the context if there is one.

    Raises:
        ServingError: there are no examples.

    """
    kind = given.WhichOneof("kind")
    examples: list[bytes] = []
    if kind == "example_list":
        examples = [example.SerializeToString() for example in given.example_list.examples]
    elif kind == "example_list_with_context":
        # Two serialized messages after each other parse as one that merges them.
        context = given.example_list_with_context.context.SerializeToString()
        examples = [context + example.SerializeToString() for example in given.example_list_with_context.examples]
    if not examples:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(examples), np.object_)
    array[:] = examples
    return array


def shape_of(values: np.ndarray[Any, Any]) -> str:
    """Return a shape as TensorFlow's messages do, for example `[2,3]`."""
    return f"[{','.join(map(str, values.shape))}]"


def data_type_of(values: np.ndarray[Any, Any]) -> str:
    """Return the type of an array as protobuf names it, for example `DT_INT64`."""
    return f"DT_{type_name(values.dtype).upper()}"
