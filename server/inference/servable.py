"""What one loaded version answers: Predict and Classify, with the server's checks in the server's order.

Sources: predict_util.cc, classifier.cc and util.cc of tensorflow_serving/servables/tensorflow, and
tensorflow/cc/saved_model/util.cc.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
import numpy as np
from google.protobuf import text_format
from tensorflow_serving.apis import classification_pb2, predict_pb2

from server.batching import BatchingSession, BatchScheduler
from server.errors import ServingError, invalid_argument
from server.loader import Session
from server.tensors import decode, encode_into, type_name

DEFAULT_SIGNATURE = "serving_default"
_CLASSIFY_INPUTS = "inputs"
_CLASSES = "classes"
_SCORES = "scores"


class Servable:
    """One version of a model, loaded and able to answer.

    Attributes:
        signatures: the SignatureDef of each signature key.

    """

    def __init__(self, session: Session, scheduler: BatchScheduler | None, *, as_content: bool) -> None:
        self.signatures = session.signatures
        self._session = session
        self._as_content = as_content
        self._batching = BatchingSession(scheduler, session.run) if scheduler is not None else None

    def close(self) -> None:
        """Free the version; no request may be running."""
        if self._batching is not None:
            self._batching.close()
        self._session.close()

    def predict(self, request: Any, is_wanted: Callable[[], bool]) -> Any:
        """Answer a PredictRequest with a PredictResponse whose model_spec names the signature only.

        Raises:
            ServingError: a signature, input or output that is not there, or what the graph says.

        """
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{key}" not found.')
        signature = self.signatures[key]
        feeds = _feeds(signature, request.inputs)
        outputs = _requested_outputs(signature, request.output_filter)
        values = self._run(feeds, [signature.outputs[alias].name for alias in outputs], is_wanted)
        response = predict_pb2.PredictResponse()
        response.model_spec.signature_name = key
        for alias, value in zip(outputs, values, strict=True):
            encode_into(response.outputs[alias], value, as_content=self._as_content)
        return response

    def classify(self, request: Any, is_wanted: Callable[[], bool]) -> Any:
        """Answer a ClassificationRequest with a ClassificationResponse whose model_spec names the signature only.

        Raises:
            ServingError: a signature that cannot classify, no examples, or what the graph says.

        """
        key = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if key not in self.signatures:
            raise invalid_argument(f"No signature was found with the name: {key}")
        signature = self.signatures[key]
        input_name, outputs = _classification_tensors(signature)
        examples = _serialized_examples(request.input)
        names = [signature.outputs[alias].name for alias in outputs]
        values = dict(zip(outputs, self._run({input_name: examples}, names, is_wanted), strict=True))
        response = classification_pb2.ClassificationResponse()
        response.model_spec.signature_name = key
        _fill_classifications(response.result, len(examples), values.get(_CLASSES), values.get(_SCORES))
        return response

    def _run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], is_wanted: Callable[[], bool]
    ) -> list[np.ndarray]:
        if self._batching is None:
            return self._session.run(feeds, fetches)
        return self._batching.run(feeds, fetches, is_wanted)


def _feeds(signature: Any, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Give the values to feed by tensor name: the request's, and the signature's defaults where it sends none."""
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


def _classification_tensors(signature: Any) -> tuple[str, list[str]]:
    """Find the tensor that takes examples, and the aliases of the outputs that Classify reads."""
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if _CLASSIFY_INPUTS not in signature.inputs:
        raise invalid_argument(
            f"No classification inputs found in SignatureDef: {text_format.MessageToString(signature)}"
        )
    outputs = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
    if not outputs:
        raise invalid_argument(
            f'Expected classification signature outputs to contain at least one of "{_CLASSES}" or "{_SCORES}". '
            f"Signature was: {text_format.MessageToString(signature)}"
        )
    return signature.inputs[_CLASSIFY_INPUTS].name, outputs


def _serialized_examples(given: Any) -> np.ndarray:
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


def _fill_classifications(result: Any, rows: int, classes: np.ndarray | None, scores: np.ndarray | None) -> None:
    for name, values, kind, expected in (
        (_CLASSES, classes, np.object_, "DT_STRING"),
        (_SCORES, scores, np.float32, "DT_FLOAT"),
    ):
        if values is None:
            continue
        if values.ndim != 2:
            raise invalid_argument(
                f"Expected Tensor shape: [batch_size num_classes] but got [{','.join(map(str, values.shape))}]"
            )
        if values.dtype != kind:
            found = type_name(values.dtype)
            raise invalid_argument(f"Expected {name} Tensor of {expected}. Got: DT_{found.upper()}")
        if values.shape[0] != rows:
            raise invalid_argument(f"Expected {name} output batch size of {rows}. Got: {values.shape[0]}")
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


def _braced(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
