"""The least: a plain copy of the array, and a gRPC stub that sends a prebuilt request and reads nothing."""

import sys

import grpc
import numpy as np
import worker

from client.rpc.calls import predict_call
from client.rpc.metadata import Target

images = worker.large_images()
sent = {"images": worker.one_image(), "k": np.array(worker.K, np.int32)}
request = predict_call(Target(worker.MODEL), "serving_default", sent)
stub = grpc.insecure_channel(sys.argv[1]).unary_unary(request.method)
worker.run({"encode": images.tobytes, "call": lambda: stub(request.request, timeout=10)})
