"""Classify: examples in, labels and scores out. Follows classifier.cc of tensorflow_serving/servables/tensorflow."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format
from tensorflow_serving.apis import classification_pb2

from server.errors import invalid_argument
from server.inference.examples import INPUTS, data_type_of, find_signature, serialized_examples, shape_of
from server.inference.servable import Call, Servable

METHOD = "tensorflow/serving/classify"
_CLASSES = "classes"
_SCORES = "scores"


def classify(servable: Servable, request: Any, is_wanted: Callable[[], bool]) -> Any:
    """Answer a ClassificationRequest with a ClassificationResponse whose model_spec names the signature only.

    Raises:
        ServingError: a signature that cannot classify, no examples, or what the graph says.

    """
    key, signature = find_signature(servable, request.model_spec)
    input_name, fetches = classification_tensors(signature)
    examples = serialized_examples(request.input)
    call = Call(request.model_spec.name, "Classify", is_wanted)
    values = dict(zip(fetches, servable.run(call, {input_name: examples}, fetches), strict=True))
    response = classification_pb2.ClassificationResponse()
    response.model_spec.signature_name = key
    fill_classifications(response.result, signature, len(examples), values)
    return response


def classification_tensors(signature: Any) -> tuple[str, list[str]]:
    """Return the names of the tensor that takes examples, and of those that Classify reads.

    Raises:
        ServingError: the signature has other inputs or outputs.

    """
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if INPUTS not in signature.inputs:
        raise invalid_argument(
            f"No classification inputs found in SignatureDef: {text_format.MessageToString(signature)}"
        )
    fetches = [signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not fetches:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {text_format.MessageToString(signature)}"
        )
    return signature.inputs[INPUTS].name, fetches


def fill_classifications(result: Any, signature: Any, rows: int, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fill a ClassificationResult from the values of tensors by name.

    Raises:
        ServingError: a value that is no classification of so many rows.

    """
    classes, scores = (
        values[signature.outputs[alias].name] if alias in signature.outputs else None for alias in (_CLASSES, _SCORES)
    )
    _check(_CLASSES, classes, np.object_, "DT_STRING", rows)
    _check(_SCORES, scores, np.float32, "DT_FLOAT", rows)
    if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
        raise invalid_argument(
            f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    labels = None if classes is None else classes.tolist()
    numbers = None if scores is None else scores.tolist()
    for row in range(rows):
        found = result.classifications.add()
        for label in labels[row] if labels is not None else [b""] * len((numbers or [[]])[row]):
            found.classes.add(label=label)
        if numbers is not None:
            for entry, score in zip(found.classes, numbers[row], strict=True):
                entry.score = score


def _check(name: str, values: np.ndarray[Any, Any] | None, dtype: Any, expected: str, rows: int) -> None:
    if values is None:
        return
    if values.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_of(values)}")
    if values.dtype != dtype:
        raise invalid_argument(f"Expected {name} Tensor of {expected}. Got: {data_type_of(values)}")
    if values.shape[0] != rows:
        raise invalid_argument(f"Expected {name} output batch size of {rows}. Got: {values.shape[0]}")
