"""tritonclient, for another server's protocol: only its encoding can be compared."""

import worker
from tritonclient.grpc import InferInput, service_pb2

images = worker.large_images()


def encode():
    given = InferInput("images", list(images.shape), "FP32")
    given.set_data_from_numpy(images)
    # As `InferenceServerClient.infer` does.
    request = service_pb2.ModelInferRequest(model_name="m", inputs=[given._get_tensor()])
    request.raw_input_contents.extend([given._get_content()])
    return request.SerializeToString()


worker.run({"encode": encode})
