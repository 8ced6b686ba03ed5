"""min-tfs-client."""

import sys

import numpy as np
import worker
from min_tfs_client.requests import TensorServingClient
from min_tfs_client.tensors import ndarray_to_tensor_proto, tensor_proto_to_ndarray
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

images, image, answer = worker.large_images(), worker.one_image(), worker.large_answer()
host, _, port = sys.argv[1].rpartition(":")
client = TensorServingClient(host=host, port=int(port))


def encode():
    message = PredictRequest()
    message.inputs["images"].CopyFrom(ndarray_to_tensor_proto(images))
    return message.SerializeToString()


def call():
    response = client.predict_request(worker.MODEL, {"images": image, "k": np.array([worker.K], np.int32)}, 10)
    return tensor_proto_to_ndarray(response.outputs["probabilities"])


worker.run(
    {
        "encode": encode,
        "decode": lambda: tensor_proto_to_ndarray(PredictResponse.FromString(answer).outputs["probabilities"]),
        "call": call,
    }
)
