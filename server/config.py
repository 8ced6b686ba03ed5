"""Read the text files that flags may name, and check all flags without TensorFlow."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from server.errors import invalid_argument
from server.settings import Settings
from signatures.contract.server_messages import METRICS_PATH, batching_parameters, monitoring_config

PLATFORM = "tensorflow"


@dataclass(frozen=True, kw_only=True)
class BatchingParameters:
    """How requests are merged; the defaults are those of BasicBatchScheduler.

    Attributes:
        max_batch_size: examples in one request, and in one execution unless large batches are split.
        batch_timeout_micros: how long the first request of a batch waits for others, in microseconds.
        max_enqueued_batches: batches of one signature that may wait; a request that needs one more is rejected.
        num_batch_threads: executions at once, over all models.
        thread_pool_name: the name of those threads in the metrics.
        allowed_batch_sizes: sizes that an execution is padded to; the last is the largest execution.
        pad_variable_length_inputs: pad inputs of differing shapes with their first value instead of failing.
        max_execution_batch_size, enable_large_batch_splitting: split requests into executions of at most this size.

    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    thread_pool_name: str = ""
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


def check(settings: Settings) -> None:
    """Refuse whatever can be recognized as wrong without TensorFlow, so that a command can report it at once.

    Raises:
        ServingError: if there is no model, the base path is relative, or a file or list of arguments cannot be read.

    """
    read_batching_parameters(settings)
    read_metrics_path(settings)
    read_channel_arguments(settings)
    if settings.model_config_file:
        _read_text(settings.model_config_file)
    elif not settings.model_base_path:
        raise invalid_argument("Both server_options.model_base_path and server_options.model_config_file are empty!")
    else:
        check_base_path(settings.model_name, settings.model_base_path)


def check_base_path(model_name: str, base_path: str | os.PathLike[str]) -> None:
    """Refuse a base path that is neither absolute nor a URI, as the server does."""
    path = os.fspath(base_path)
    if not os.path.isabs(path) and re.match(r"[A-Za-z][A-Za-z0-9.]*://", path) is None:
        raise invalid_argument(f"Expected model {model_name} to have an absolute path or URI; got base_path()={path}")


def read_model_server_config(settings: Settings) -> Any:
    """Return the ModelServerConfig of checked settings, from the file or from the name and base path.

    Raises:
        ServingError: if the file cannot be read or is not in the text format.

    """
    from tensorflow_serving.config import model_server_config_pb2

    config = model_server_config_pb2.ModelServerConfig()
    if settings.model_config_file:
        return _parse_text_file(settings.model_config_file, config)
    config.model_config_list.config.add(
        name=settings.model_name, base_path=os.fspath(settings.model_base_path), model_platform=PLATFORM
    )
    return config


def read_batching_parameters(settings: Settings) -> BatchingParameters | None:
    """Return the parameters to batch with, or None if batching is off.

    Raises:
        ServingError: if a file is given without --enable_batching, cannot be read or is not in the text format.

    """
    path = settings.batching_parameters_file
    if not settings.enable_batching:
        if path:
            raise invalid_argument(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return None
    if not path:
        return BatchingParameters(thread_pool_name="model_server_batch_threads")
    message = _parse_text_file(path, batching_parameters())
    given: dict[str, Any] = {
        field.name: value.value if field.message_type is not None else value
        for field, value in message.ListFields()
        if field.name != "allowed_batch_sizes"
    }
    parameters = BatchingParameters(allowed_batch_sizes=tuple(message.allowed_batch_sizes), **given)
    sizes = parameters.allowed_batch_sizes
    if sizes and sizes[-1] != parameters.execution_limit:
        raise invalid_argument(
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
            f"{sizes[-1]}; expected {parameters.execution_limit}"
        )
    return parameters


def read_metrics_path(settings: Settings) -> str | None:
    """Return the path of the metrics page, or None if there is no such page.

    Raises:
        ServingError: if the file cannot be read or is not in the text format.

    """
    if not settings.monitoring_config_file:
        return None
    config = _parse_text_file(settings.monitoring_config_file, monitoring_config()).prometheus_config
    return (config.path or METRICS_PATH) if config.enable else None


def read_channel_arguments(settings: Settings) -> list[tuple[str, int | str]]:
    """Return the arguments for the gRPC server; a value that is an int32 becomes an integer, as on the real server.

    Raises:
        ServingError: if an argument has no value.

    """
    arguments: list[tuple[str, int | str]] = []
    for argument in filter(None, settings.grpc_channel_arguments.split(",")):
        key, equals, value = argument.partition("=")
        if not (key and equals):
            raise invalid_argument(
                f"--grpc_channel_arguments has {argument!r}, which is not key=value: write them as in "
                "grpc.max_connection_age_ms=2000,grpc.max_concurrent_streams=100."
            )
        is_int32 = re.fullmatch(r"[+-]?[0-9]{1,10}", value, re.ASCII) and -(1 << 31) <= int(value) < 1 << 31
        arguments.append((key, int(value) if is_int32 else value))
    return arguments


def _parse_text_file(path: str | os.PathLike[str], message: Any) -> Any:
    try:
        return text_format.Parse(_read_text(path), message)
    except text_format.ParseError as error:
        # The first sentence is the log line of the real server's parser, which scripts look for.
        name, problem = message.DESCRIPTOR.full_name, str(error).rstrip(".")
        raise invalid_argument(
            f"Error parsing text-format {name}: {problem}. Invalid protobuf file: '{os.fspath(path)}'"
        ) from None


def _read_text(path: str | os.PathLike[str]) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise invalid_argument(f"Cannot read {os.fspath(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise invalid_argument(f"Invalid protobuf file: '{os.fspath(path)}': it is not text") from None
