"""Message classes of TensorFlow Serving's API, without TensorFlow and without tensorflow-serving-api.

They come from `serving_api.binpb`, a FileDescriptorSet that tests/client/write_descriptor_set.py writes. They have
their own pool, so that TensorFlow may register the same messages in the same process, before or after.
"""

from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(files("client.rpc").joinpath("serving_api.binpb").read_bytes()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _pool()


def message_class(full_name: str) -> Any:
    """Return the class of a message, as in `message_class("tensorflow.serving.PredictRequest")`."""
    return GetMessageClass(_POOL.FindMessageTypeByName(full_name))


DATA_TYPES: dict[str, int] = {
    value.name: value.number for value in _POOL.FindEnumTypeByName("tensorflow.DataType").values
}
VERSION_STATES: dict[int, str] = {
    value.number: value.name for value in _POOL.FindEnumTypeByName("tensorflow.serving.ModelVersionStatus.State").values
}

Example = message_class("tensorflow.Example")
TensorProto = message_class("tensorflow.TensorProto")
ClassificationRequest = message_class("tensorflow.serving.ClassificationRequest")
ClassificationResponse = message_class("tensorflow.serving.ClassificationResponse")
GetModelMetadataRequest = message_class("tensorflow.serving.GetModelMetadataRequest")
GetModelMetadataResponse = message_class("tensorflow.serving.GetModelMetadataResponse")
GetModelStatusRequest = message_class("tensorflow.serving.GetModelStatusRequest")
GetModelStatusResponse = message_class("tensorflow.serving.GetModelStatusResponse")
ModelServerConfig = message_class("tensorflow.serving.ModelServerConfig")
ModelSpec = message_class("tensorflow.serving.ModelSpec")
PredictRequest = message_class("tensorflow.serving.PredictRequest")
PredictResponse = message_class("tensorflow.serving.PredictResponse")
PredictionLog = message_class("tensorflow.serving.PredictionLog")
ReloadConfigRequest = message_class("tensorflow.serving.ReloadConfigRequest")
ReloadConfigResponse = message_class("tensorflow.serving.ReloadConfigResponse")
SignatureDefMap = message_class("tensorflow.serving.SignatureDefMap")
