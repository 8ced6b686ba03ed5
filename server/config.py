"""What the server is told: its flags as one value, and the two text files that flags may name."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.errors import invalid_argument

PLATFORM = "tensorflow"


def _default_max_threads() -> int:
    return 4 * (os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The flags of tensorflow_model_server that the stand-in has, under their names and with their defaults.

    Attributes:
        port: TCP port of the gRPC services; 0 lets the system pick one (the real server refuses 0).
        model_name, model_base_path: the one model to serve; the path is absolute, and is the parent of the version
            directories.
        model_config_file: a ModelServerConfig in protobuf text format, instead of the two above.
        model_config_file_poll_wait_seconds: how often that file is read again; 0 means never.
        file_system_poll_wait_seconds: how often base paths are searched for versions; 0 means once, below 0 never.
        max_num_load_retries: how often a failed load is tried again.
        load_retry_interval_micros: the wait before each of those tries, in microseconds.
        enable_batching, batching_parameters_file: merge requests, with BatchingParameters in protobuf text format.
        enable_model_warmup: replay assets.extra/tf_serving_warmup_requests before a version becomes AVAILABLE.
        grpc_max_threads: requests answered at once; one more gets RESOURCE_EXHAUSTED.
        allow_version_labels_for_unavailable_models: let new labels name versions that are not loaded yet.
        enable_serialization_as_tensor_content: answer Predict with tensor_content instead of float_val and so on.
        enable_grpc_healthcheck_service: serve grpc.health.v1.Health.
        xla_cpu_compilation_enabled: allow functions with jit_compile=True to run.

    """

    port: int = 0
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
    grpc_max_threads: int = _default_max_threads()
    allow_version_labels_for_unavailable_models: bool = False
    enable_serialization_as_tensor_content: bool = False
    enable_grpc_healthcheck_service: bool = False
    xla_cpu_compilation_enabled: bool = False


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How requests are merged; the defaults are those of BasicBatchScheduler.

    Attributes:
        max_batch_size: examples in one request, and in one execution unless large batches are split.
        batch_timeout_micros: how long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: batches of one signature that may wait; a request that needs one more is rejected.
        num_batch_threads: executions at once, over all models.
        allowed_batch_sizes: sizes that an execution is padded to; the last is the largest execution.
        pad_variable_length_inputs: pad inputs of differing shapes with their first value instead of failing.
        max_execution_batch_size, enable_large_batch_splitting: split requests into executions of at most this size.

    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    max_execution_batch_size: int | None = None
    enable_large_batch_splitting: bool = False

    @property
    def execution_limit(self) -> int:
        """The most examples that one execution may hold."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size is not None:
            return self.max_execution_batch_size
        return self.max_batch_size


def read_model_server_config(settings: Settings) -> Any:
    """Give the ModelServerConfig that checked settings ask for, from the file or from the name and base path.

    Raises:
        ServingError: the file cannot be read or is not in the text format.

    """
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if settings.model_config_file:
        return _parse_text_file(settings.model_config_file, config)
    config.model_config_list.config.add(
        name=settings.model_name, base_path=os.fspath(settings.model_base_path), model_platform=PLATFORM
    )
    return config


def check(settings: Settings) -> None:
    """Refuse what can be seen to be wrong without TensorFlow, so that a command can say so at once.

    Raises:
        ServingError: no model, a relative base path, or a file that cannot be read.

    """
    read_batching_parameters(settings)
    if settings.model_config_file:
        _read_text(settings.model_config_file)
    elif not settings.model_base_path:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    else:
        check_base_path(settings.model_name, settings.model_base_path)


def read_batching_parameters(settings: Settings) -> BatchingParameters | None:
    """Give the parameters to batch with, or None when batching is off.

    Raises:
        ServingError: a file is given without --enable_batching, cannot be read or is not in the text format.

    """
    path = settings.batching_parameters_file
    if not settings.enable_batching:
        if path:
            raise invalid_argument(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    if not path:
        return BatchingParameters()
    message = _parse_text_file(path, _batching_parameters_message())
    given: dict[str, Any] = {
        field.name: value.value if field.message_type is not None else value
        for field, value in message.ListFields()
        if field.name not in ("allowed_batch_sizes", "thread_pool_name")
    }
    parameters = BatchingParameters(allowed_batch_sizes=tuple(message.allowed_batch_sizes), **given)
    sizes = parameters.allowed_batch_sizes
    if sizes and sizes[-1] != parameters.execution_limit:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {parameters.execution_limit}"
        )
    return parameters


def check_base_path(model_name: str, base_path: str | os.PathLike[str]) -> None:
    """Refuse a base path that is neither absolute nor a URI, as the server does.

    Raises:
        ServingError: the path is relative.

    """
    path = os.fspath(base_path)
    if not os.path.isabs(path) and re.match(r"[A-Za-z][A-Za-z0-9.]*://", path) is None:
        raise invalid_argument(f"Expected model {model_name} to have an absolute path or URI; got base_path()={path}")


def _parse_text_file(path: str | os.PathLike[str], message: Any) -> Any:
    from google.protobuf import text_format

    try:
        return text_format.Parse(_read_text(path), message)
    except text_format.ParseError as error:
        raise invalid_argument(f"Invalid protobuf file: '{os.fspath(path)}': {error}") from None


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise invalid_argument(f"Cannot read {os.fspath(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise invalid_argument(f"Invalid protobuf file: '{os.fspath(path)}': it is not text") from None


def _batching_parameters_message() -> Any:
    """Make an empty BatchingParameters; tensorflow-serving-api does not ship session_bundle_config.proto."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    field = descriptor_pb2.FieldDescriptorProto
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="batching_parameters.proto",
        package="server",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    parameters = file.message_type.add(name="BatchingParameters")
    for number, name, wrapper in (
        (1, "max_batch_size", "Int64Value"),
        (2, "batch_timeout_micros", "Int64Value"),
        (3, "max_enqueued_batches", "Int64Value"),
        (4, "num_batch_threads", "Int64Value"),
        (5, "thread_pool_name", "StringValue"),
        (11, "max_execution_batch_size", "Int64Value"),
        (12, "enable_large_batch_splitting", "BoolValue"),
    ):
        parameters.field.add(
            name=name,
            number=number,
            label=field.LABEL_OPTIONAL,
            type=field.TYPE_MESSAGE,
            type_name=f".google.protobuf.{wrapper}",
        )
    parameters.field.add(name="allowed_batch_sizes", number=6, label=field.LABEL_REPEATED, type=field.TYPE_INT64)
    parameters.field.add(name="pad_variable_length_inputs", number=7, label=field.LABEL_OPTIONAL, type=field.TYPE_BOOL)
    pool.Add(file)
    descriptor = pool.FindMessageTypeByName("server.BatchingParameters")
    return message_factory.GetMessageClass(descriptor)()
