"""The flags of the server's command line, as one value."""

import inspect
import os
import re
from dataclasses import dataclass


def _four_a_core() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of tensorflow_model_server that the stand-in has, under their names and with their defaults.

    Attributes:
        port: TCP port of the gRPC services. 0: the system picks one (the real server refuses 0).
        grpc_socket_path: Path of a UNIX socket to serve gRPC on as well.
        grpc_channel_arguments: Arguments for the gRPC server, as key=value,key=value.
        grpc_max_threads: gRPC requests answered at once; more get RESOURCE_EXHAUSTED.
        rest_api_port: TCP port of the REST API. 0: no REST API.
        rest_api_num_threads: REST requests answered at once; more wait.
        rest_api_timeout_in_ms: How long the model may work on a REST request. 0: forever.
        monitoring_config_file: MonitoringConfig in text format: opens the metrics page on the REST port.
        model_name: Name of the model; not used with model_config_file.
        model_base_path: Absolute path of the directory that holds the numbered versions.
        model_config_file: ModelServerConfig in text format: several models, version policies, labels.
        model_config_file_poll_wait_seconds: How often to read that file again. 0: never.
        file_system_poll_wait_seconds: How often to look for new versions. 0: once; below 0: never.
        max_num_load_retries: Further tries to load a version that failed.
        load_retry_interval_micros: Wait before each of them, in microseconds.
        enable_batching: Merge requests that come close together.
        batching_parameters_file: BatchingParameters in text format.
        enable_model_warmup: Replay a version's warm-up requests before it serves.
        allow_version_labels_for_unavailable_models: Let new labels name versions that are not loaded yet.
        enable_serialization_as_tensor_content: Answer with tensor_content instead of float_val and so on.
        enable_grpc_healthcheck_service: Serve grpc.health.v1.Health.
        enable_profiler: Serve tensorflow.ProfilerService, by which TensorBoard records what the server does.
        xla_cpu_compilation_enabled: Allow functions with jit_compile=True.
        mixed_precision: "bfloat16": compute in bfloat16 where TensorFlow finds it worthwhile.

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
    enable_profiler: bool = True
    xla_cpu_compilation_enabled: bool = False
    mixed_precision: str = ""


def flag_help() -> dict[str, str]:
    """Return the help text of each flag, from the docstring of Settings."""
    attributes = inspect.cleandoc(Settings.__doc__ or "").partition("Attributes:\n")[2]
    return dict(re.findall(r"^    (\w+): (.+)$", attributes, re.MULTILINE))
