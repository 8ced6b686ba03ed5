"""tensorflow-serving-api with tf.make_tensor_proto."""

import sys

import grpc
import numpy as np
import tensorflow as tf
import worker
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

images, image, answer = worker.large_images(), worker.one_image(), worker.large_answer()
stub = prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(sys.argv[1]))


def request(inputs):
    message = predict_pb2.PredictRequest()
    message.model_spec.name = worker.MODEL
    for name, value in inputs.items():
        message.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return message


def call():
    response = stub.Predict(request({"images": image, "k": np.int32(worker.K)}), 10)
    return tf.make_ndarray(response.outputs["probabilities"])


worker.run(
    {
        "encode": lambda: request({"images": images}).SerializeToString(),
        "decode": lambda: tf.make_ndarray(predict_pb2.PredictResponse.FromString(answer).outputs["probabilities"]),
        "call": call,
    }
)
