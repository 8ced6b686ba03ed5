"""Write client/rpc/serving_api.binpb, the descriptors of TensorFlow Serving's API, from tensorflow-serving-api.

Run `python tests/client/write_descriptor_set.py` where that package is installed; the client itself never needs it.
"""

from pathlib import Path

DESTINATION = Path(__file__).parents[2] / "client" / "rpc" / "serving_api.binpb"
MODULES = (
    "apis.classification_pb2",
    "apis.get_model_metadata_pb2",
    "apis.get_model_status_pb2",
    "apis.model_management_pb2",
    "apis.predict_pb2",
    "apis.prediction_log_pb2",
)


def serialized_descriptor_set() -> bytes:
    """The FileDescriptorSet of MODULES and all that they import, each file after those it needs."""
    import importlib

    from google.protobuf import descriptor_pb2

    files: dict[str, descriptor_pb2.FileDescriptorProto] = {}

    def add(descriptor):
        if descriptor.name in files:
            return
        for dependency in sorted(descriptor.dependencies, key=lambda file: file.name):
            add(dependency)
        files[descriptor.name] = descriptor_pb2.FileDescriptorProto()
        descriptor.CopyToProto(files[descriptor.name])

    for module in MODULES:
        add(importlib.import_module(f"tensorflow_serving.{module}").DESCRIPTOR)
    return descriptor_pb2.FileDescriptorSet(file=files.values()).SerializeToString(deterministic=True)


if __name__ == "__main__":
    DESTINATION.write_bytes(serialized_descriptor_set())
    print(f"{DESTINATION}: {DESTINATION.stat().st_size} bytes")
