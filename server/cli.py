"""serve-model: the stand-in server as a command, with the flag names of tensorflow_model_server."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import click

from server.config import Settings, check
from server.errors import ServingError

# Flags of tensorflow_model_server 2.20 that the stand-in does not have.
_FOREIGN_FLAGS = frozenset(
    {
        "enable_per_model_batching_parameters",
        "enable_profiler",
        "enable_signature_method_name_check",
        "flush_filesystem_caches",
        "grpc_channel_arguments",
        "grpc_socket_path",
        "mixed_precision",
        "monitoring_config_file",
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
        "rest_api_num_threads",
        "rest_api_port",
        "rest_api_timeout_in_ms",
        "saved_model_tags",
        "skip_initialize_tpu",
        "ssl_config_file",
        "tensorflow_inter_op_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_session_config_file",
        "tensorflow_session_parallelism",
        "thread_pool_factory_config_file",
        "use_alts_credentials",
        "version",
        "xla_gpu_compilation_enabled",
    }
)


_Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class _Command(click.Command):
    """A command that tells a flag of the real server from a misspelt one."""

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


@click.command(cls=_Command)
@click.option("--port", type=click.IntRange(0, 65535), default=8500, show_default=True, help="0: the system picks one.")
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
@_flag("grpc_max_threads", "Requests answered at once; more get RESOURCE_EXHAUSTED.")
@_flag("allow_version_labels_for_unavailable_models", "Let new labels name versions that are not loaded yet.")
@_flag("enable_serialization_as_tensor_content", "Answer with tensor_content instead of float_val and so on.")
@_flag("enable_grpc_healthcheck_service", "Serve grpc.health.v1.Health.")
@_flag("xla_cpu_compilation_enabled", "Allow functions with jit_compile=True.")
def main(**flags: Any) -> None:
    """Serve SavedModels over gRPC as tensorflow_model_server does, without it.

    It prints one line with its port when every model is ready, and runs until SIGTERM or Ctrl-C.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        settings = Settings(**flags)
        check(settings)
        if not importlib.util.find_spec("tensorflow"):
            print("serve-model needs TensorFlow: pip install 'sparsehead[export]'.", file=sys.stderr)
            sys.exit(2)
        from server.model_server import ModelServer

        with ModelServer(settings) as server:
            print(f"Running gRPC ModelServer at 0.0.0.0:{server.port} ...", flush=True)
            signal.pause()
    except ServingError as error:
        print(f"Failed to start server. Error: {error.code.name}: {error.message}", file=sys.stderr)
        sys.exit(4 if error.code.name in ("UNAVAILABLE", "UNKNOWN") else 2)


def _end(*_: Any) -> None:
    """Leave the with statement of the server, whatever it is doing, even waiting for a base path; only once."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    sys.exit(0)
