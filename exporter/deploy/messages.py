"""Two of the server's messages that `tensorflow-serving-api` lacks, as the server's .proto files declare them.

Both are what a configuration file holds, in protobuf text format.

https://github.com/tensorflow/serving: servables/tensorflow/session_bundle_config.proto (BatchingParameters, the fields
that this project writes) and config/monitoring_config.proto.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    text_format,
    wrappers_pb2,
)

from exporter.errors import ExportError

METRICS_PATH = "/monitoring/prometheus/metrics"

_FILE = """
name: "sparsehead/serving.proto" package: "sparsehead" syntax: "proto3" dependency: "google/protobuf/wrappers.proto"
message_type {
  name: "BatchingParameters"
  field { name: "max_batch_size" number: 1 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "batch_timeout_micros" number: 2 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "max_enqueued_batches" number: 3 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
  field { name: "num_batch_threads" number: 4 type: TYPE_MESSAGE type_name: ".google.protobuf.Int64Value" }
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
  field { name: "prometheus_config" number: 1 type: TYPE_MESSAGE type_name: ".sparsehead.PrometheusConfig" }
}
"""


def batching_parameters() -> Any:
    """Make an empty BatchingParameters message."""
    return _message_class("BatchingParameters")()


def monitoring_config() -> Any:
    """Make an empty MonitoringConfig message."""
    return _message_class("MonitoringConfig")()


def batching_config(batching: Mapping[str, Any]) -> str:
    """Return the text of a batching.config with these fields of BatchingParameters.

    Raises:
        ExportError: when the server would not take them.
    """
    try:
        parameters = json_format.ParseDict(dict(batching), batching_parameters())
    except json_format.ParseError as error:
        raise ExportError(f"The batching parameters {dict(batching)} are not valid for a server: {error}") from None
    sizes = list(parameters.allowed_batch_sizes)
    largest = (
        parameters.max_execution_batch_size
        if parameters.enable_large_batch_splitting.value
        else parameters.max_batch_size
    ).value
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
        raise ExportError(
            f"allowed_batch_sizes are {sizes}; they must rise and end with the largest batch size, {largest}."
        )
    return text_format.MessageToString(parameters)


def metrics_config() -> str:
    """Return the text of a monitoring.config that opens the page of metrics."""
    config = monitoring_config()
    config.prometheus_config.enable = True
    config.prometheus_config.path = METRICS_PATH
    return text_format.MessageToString(config)


@cache
def _message_class(name: str) -> Any:
    # In a separate pool, so that they never clash with the full messages.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto()))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"sparsehead.{name}"))
