"""Messages of the server's configuration files that `tensorflow-serving-api` does not ship.

They have the fields that this project reads and writes, with the names and numbers of the server's own files:
servables/tensorflow/session_bundle_config.proto and config/monitoring_config.proto.
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

METRICS_PATH = "/monitoring/prometheus/metrics"

_FILE = """
name: "sparsehead/server_messages.proto" package: "tensorflow.serving" syntax: "proto3"
dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "batch_timeout_micros" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "max_enqueued_batches" number: 3 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "num_batch_threads" number: 4 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "thread_pool_name" number: 5 type: TYPE_MESSAGE type_name: ".google.protobuf.StringValue" }
  field { name: "allowed_batch_sizes" number: 6 type: TYPE_INT64 label: LABEL_REPEATED }
  field { name: "pad_variable_length_inputs" number: 7 type: TYPE_BOOL }
  field { name: "max_execution_batch_size" number: 11 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "enable_large_batch_splitting" number: 12 type: TYPE_MESSAGE type_name: ".google.protobuf.BoolValue" }
}
message_type {
  name: "PrometheusConfig"
  field { name: "enable" number: 1 type: TYPE_BOOL }
  field { name: "path" number: 2 type: TYPE_STRING }
}
message_type {
  name: "MonitoringConfig"
  field { name: "prometheus_config" number: 1 type: TYPE_MESSAGE type_name: ".tensorflow.serving.PrometheusConfig" }
}
"""


def batching_parameters() -> Any:
    """Make an empty BatchingParameters message."""
    return _message_class("BatchingParameters")()


def monitoring_config() -> Any:
    """Make an empty MonitoringConfig message."""
    return _message_class("MonitoringConfig")()


@cache
def _message_class(name: str) -> Any:
    # In a pool of its own, so that these never clash with the full messages.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
