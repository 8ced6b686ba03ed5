"""serve-model: the stand-in server as a command, with the flag names of tensorflow_model_server."""

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from server.config import check
from server.errors import ServingError
from server.settings import Settings

# The version of tensorflow_model_server whose answers were recorded.
_IMITATED = "2.20.0"
_NEEDED = ("tensorflow", "tensorflow_serving", "waitress")

# Flags of tensorflow_model_server 2.20 that the stand-in does not have.
_FOREIGN_FLAGS = frozenset(
    {
        "enable_per_model_batching_parameters",
        "enable_profiler",
        "enable_signature_method_name_check",
        "flush_filesystem_caches",
        "num_load_threads",
        "num_request_iterations_for_warmup",
        "num_tflite_interpreters_per_pool",
        "num_tflite_pools",
        "num_unload_threads",
        "per_process_gpu_memory_fraction",
        "platform_config_file",
        "prefer_tflite_model",
        "remove_unused_fields_from_bundle_metagraph",
        "rest_api_enable_cors_support",
        "saved_model_tags",
        "skip_initialize_tpu",
        "ssl_config_file",
        "tensorflow_inter_op_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_session_config_file",
        "tensorflow_session_parallelism",
        "thread_pool_factory_config_file",
        "use_alts_credentials",
        "xla_gpu_compilation_enabled",
    }
)


_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _Command(click.Command):
    """A command that can tell a flag of the real server from a misspelled one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name.removeprefix("--") not in _FOREIGN_FLAGS:
                raise
            raise click.UsageError(
                f"{error.option_name} is a flag of tensorflow_model_server that this stand-in does not have: leave it "
                "out, or run the real server.",
                ctx,
            ) from None


def _flag(name: str, help: str) -> _Decorator:
    """Make an option for the field of Settings with this name; booleans also work as --flag and --flag=false."""
    default = getattr(Settings, name)
    if isinstance(default, bool):
        return click.option(f"--{name}", type=bool, is_flag=False, flag_value="true", default=default, help=help)
    return click.option(f"--{name}", type=type(default), default=default, show_default=True, help=help)


def _show_version(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    if not is_given:
        return
    click.echo(f"TensorFlow ModelServer: {_IMITATED} (stand-in, sparsehead {version('sparsehead')})")
    with contextlib.suppress(PackageNotFoundError):
        click.echo(f"TensorFlow Library: {version('tensorflow')}")
    context.exit()


@click.command(cls=_Command)
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="0: the system picks one.")
@_flag("grpc_socket_path", "Path of a UNIX socket to serve gRPC on as well.")
@_flag("grpc_channel_arguments", "Arguments for the gRPC server, as key=value,key=value.")
@_flag("grpc_max_threads", "gRPC requests answered at once; more get RESOURCE_EXHAUSTED.")
@click.option(
    "--rest_api_port",
    type=click.IntRange(0, 65535),
    default=Settings.rest_api_port,
    show_default=True,
    help="Port of the REST API; 0: none.",
)
@click.option(
    "--rest_api_num_threads",
    type=click.IntRange(1),
    default=Settings.rest_api_num_threads,
    show_default=True,
    help="REST requests answered at once; more wait.",
)
@_flag("rest_api_timeout_in_ms", "How long the model may work on a REST request; 0: forever.")
@_flag("monitoring_config_file", "MonitoringConfig in text format: opens the metrics page on the REST port.")
@_flag("model_name", "Name of the model; not used with --model_config_file.")
@_flag("model_base_path", "Absolute path of the directory that holds the numbered versions.")
@_flag("model_config_file", "ModelServerConfig in text format: several models, version policies, labels.")
@_flag("model_config_file_poll_wait_seconds", "How often to read that file again; 0: never.")
@_flag("file_system_poll_wait_seconds", "How often to look for new versions; 0: once.")
@_flag("max_num_load_retries", "Further tries to load a version that failed.")
@_flag("load_retry_interval_micros", "Wait before each of them, in microseconds.")
@_flag("enable_batching", "Merge requests that come close together.")
@_flag("batching_parameters_file", "BatchingParameters in text format.")
@_flag("enable_model_warmup", "Replay a version's warm-up requests before it serves.")
@_flag("allow_version_labels_for_unavailable_models", "Let new labels name versions that are not loaded yet.")
@_flag("enable_serialization_as_tensor_content", "Answer with tensor_content instead of float_val and so on.")
@_flag("enable_grpc_healthcheck_service", "Serve grpc.health.v1.Health.")
@_flag("xla_cpu_compilation_enabled", "Allow functions with jit_compile=True.")
@_flag("mixed_precision", "bfloat16: compute in bfloat16 where TensorFlow finds it worthwhile.")
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="And exit.")
def main(**flags: Any) -> None:
    """Serve SavedModels over gRPC and REST as tensorflow_model_server does, without it.

    It prints a line with each of its ports when every model is ready, and runs until SIGTERM or Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        settings = Settings(**flags)
        check(settings)
        if not all(map(importlib.util.find_spec, _NEEDED)):
            print("serve-model needs TensorFlow and more: pip install 'sparsehead[export]'.", file=sys.stderr)
            sys.exit(2)
        from server.model_server import ModelServer

        with ModelServer(settings) as server:
            print(f"Running gRPC ModelServer at 0.0.0.0:{server.port} ...", flush=True)
            if settings.grpc_socket_path:
                print(f"Running gRPC ModelServer at UNIX socket {settings.grpc_socket_path} ...", flush=True)
            if server.rest_port:
                print(f"Exporting HTTP/REST API at:localhost:{server.rest_port} ...", flush=True)
            signal.pause()
    except ServingError as error:
        print(f"Failed to start server. Error: {error.code.name}: {error.message}", file=sys.stderr)
        sys.exit(4 if error.code.name in ("UNAVAILABLE", "UNKNOWN") else 2)


def _end(*_: Any) -> None:
    """Leave the server's with statement once, no matter what it is doing, even if it waits for a base path."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)
