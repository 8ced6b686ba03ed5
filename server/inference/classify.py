"""The tensors of a classification, and their values as labels and scores. Follows classifier.cc."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf import text_format

from server.errors import invalid_argument
from server.tensors import data_type_name, shape_text

_CLASSES = "classes"
_SCORES = "scores"


def classification_tensors(signature: Any) -> tuple[str, list[str]]:
    """Return the name of the tensor that takes examples, and the names of those that Classify reads."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid_argument(
            f"No classification inputs found in SignatureDef: {text_format.MessageToString(signature)}"
        )
    fetches = [signature.outputs[alias].name for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not fetches:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {text_format.MessageToString(signature)}"
        )
    return signature.inputs["inputs"].name, fetches


def fill_classifications(result: Any, signature: Any, rows: int, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Fill a ClassificationResult from the values of tensors by name, which must have this number of rows."""
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
        entries = result.classifications.add().classes
        for label in labels[row] if labels is not None else [b""] * len((numbers or [[]])[row]):
            entries.add(label=label)
        if numbers is not None:
            for entry, score in zip(entries, numbers[row], strict=True):
                entry.score = score


def _check(name: str, values: np.ndarray[Any, Any] | None, dtype: Any, expected: str, rows: int) -> None:
    if values is None:
        return
    if values.ndim != 2:
        raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {shape_text(values)}")
    if values.dtype != dtype:
        raise invalid_argument(f"Expected {name} Tensor of {expected}. Got: {data_type_name(values)}")
    if values.shape[0] != rows:
        raise invalid_argument(f"Expected {name} output batch size of {rows}. Got: {values.shape[0]}")
