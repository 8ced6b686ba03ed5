"""Golden records: sample requests with the dense answers that Keras gives, which travel with the version.

They are what a client compares a server's answers with, with neither the model nor TensorFlow at hand. The same
TFRecord of PredictionLog is what TensorFlow Serving's own request logger writes.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from signatures import names


def write_golden_records(
    file: Path, model: str, samples: Mapping[str, npt.NDArray[Any]], dense: npt.NDArray[np.float32]
) -> str:
    """Write one record a sample, each with k = N and the dense answer, and give the file's SHA-256.

    Args:
        file: where to write.
        model: the name the model is served as.
        samples: the model's inputs by name, [S, ...] each.
        dense: the probabilities expected, [S, N].
    """
    with tf.io.TFRecordWriter(str(file)) as writer:
        for row, probabilities in enumerate(dense):
            log = prediction_log_pb2.PredictionLog()
            request = log.predict_log.request
            request.model_spec.name = model
            request.model_spec.signature_name = names.SERVING_DEFAULT
            inputs = {name: array[row : row + 1] for name, array in samples.items()}
            inputs[names.K] = np.array([dense.shape[1]], np.int32)
            for name, array in inputs.items():
                request.inputs[name].CopyFrom(tf.make_tensor_proto(array))
            log.predict_log.response.model_spec.CopyFrom(request.model_spec)
            log.predict_log.response.outputs[names.PROBABILITIES].CopyFrom(
                tf.make_tensor_proto(probabilities[np.newaxis])
            )
            writer.write(log.SerializeToString(deterministic=True))
    return hashlib.sha256(file.read_bytes()).hexdigest()
