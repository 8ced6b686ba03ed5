"""sparsehead's client."""

import sys

import numpy as np
import worker

from client import ServingClient
from client.rpc.calls import predict_call
from client.rpc.metadata import Target

client = ServingClient(sys.argv[1], worker.MODEL)
images, image, answer = worker.large_images(), worker.one_image(), worker.large_answer()
read = predict_call(Target("m"), "s", {"images": image}).read
sent = {"images": image, "k": np.array(worker.K, np.int32)}
worker.run(
    {
        "encode": lambda: predict_call(Target("m"), "s", {"images": images}).request,
        "decode": lambda: read(answer),
        "call": lambda: client.predict(image, worker.K),
        "call unvalidated": lambda: client.predict(sent, validate=False),
    }
)
