"""The flags of the server's command line, as one value."""

import os
from dataclasses import dataclass


def _four_a_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of tensorflow_model_server that the stand-in has, under their names and with their defaults.

    Attributes:
        port: TCP port of the gRPC services; 0 lets the system pick one (the real server refuses 0).
        grpc_socket_path: path of a UNIX socket that the gRPC services listen to as well.
        grpc_channel_arguments: arguments for the gRPC server, as `key=value,key=value`.
        grpc_max_threads: gRPC requests answered at once; one more gets RESOURCE_EXHAUSTED.
        rest_api_port: TCP port of the REST API; 0 means no REST API.
        rest_api_num_threads: REST requests answered at once; further ones wait.
        rest_api_timeout_in_ms: how long the model may work on a REST request; 0 means forever.
        monitoring_config_file: a MonitoringConfig in protobuf text format; it opens the metrics page on the REST port.
        model_name, model_base_path: the one model to serve; the path is absolute, and is the parent of the version
            directories.
        model_config_file: a ModelServerConfig in protobuf text format, instead of the two above.
        model_config_file_poll_wait_seconds: how often that file is read again; 0 means never.
        file_system_poll_wait_seconds: how often base paths are searched for versions; 0 means once, below 0 never.
        max_num_load_retries: how often a failed load is tried again.
        load_retry_interval_micros: the wait before each of those tries, in microseconds.
        enable_batching, batching_parameters_file: merge requests, with BatchingParameters in protobuf text format.
        enable_model_warmup: replay assets.extra/tf_serving_warmup_requests before a version becomes AVAILABLE.
        allow_version_labels_for_unavailable_models: let new labels name versions that are not loaded yet.
        enable_serialization_as_tensor_content: answer Predict with tensor_content instead of float_val and so on.
        enable_grpc_healthcheck_service: serve grpc.health.v1.Health.
        xla_cpu_compilation_enabled: allow functions with jit_compile=True to run.
        mixed_precision: `bfloat16` computes in bfloat16 where TensorFlow finds it worthwhile.

    Example:
        >>> Settings(model_name="digits", model_base_path="/srv/models/digits").port
        0

    """

    port: int = 0
    grpc_socket_path: str | os.PathLike[str] = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = _four_a_core()
    rest_api_port: int = 0
    rest_api_num_threads: int = _four_a_core()
    rest_api_timeout_in_ms: int = 30_000
    monitoring_config_file: str | os.PathLike[str] = ""
    model_name: str = "default"
    model_base_path: str | os.PathLike[str] = ""
    model_config_file: str | os.PathLike[str] = ""
    model_config_file_poll_wait_seconds: int = 0
    file_system_poll_wait_seconds: int = 1
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_batching: bool = False
    batching_parameters_file: str | os.PathLike[str] = ""
    enable_model_warmup: bool = True
    allow_version_labels_for_unavailable_models: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_grpc_healthcheck_service: bool = False
    xla_cpu_compilation_enabled: bool = False
    mixed_precision: str = ""
