"""serve-model: the stand-in server as a command, with the flag names of tensorflow_model_server."""

import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import click

from server.config import check
from server.errors import ServingError
from server.settings import Settings, flag_help

# The version of tensorflow_model_server whose answers were recorded.
_IMITATED = "2.20.0"
_NEEDED = ("tensorflow", "tensorflow_serving", "waitress")

# Flags of tensorflow_model_server 2.20 that the stand-in does not have.
_FOREIGN_FLAGS = """
    enable_per_model_batching_parameters enable_signature_method_name_check
    flush_filesystem_caches num_load_threads num_request_iterations_for_warmup num_tflite_interpreters_per_pool
    num_tflite_pools num_unload_threads per_process_gpu_memory_fraction platform_config_file prefer_tflite_model
    remove_unused_fields_from_bundle_metagraph rest_api_enable_cors_support saved_model_tags skip_initialize_tpu
    ssl_config_file tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism
    tensorflow_session_config_file tensorflow_session_parallelism thread_pool_factory_config_file
    use_alts_credentials xla_gpu_compilation_enabled
    """

# Where the command differs from Settings, whose port is for programs that run several servers.
_DEFAULTS = {"port": 8500}
_RANGES = {
    "port": click.IntRange(0, 65535),
    "rest_api_port": click.IntRange(0, 65535),
    "grpc_max_threads": click.IntRange(1),
    "rest_api_num_threads": click.IntRange(1),
}


class _Command(click.Command):
    """A command that can tell a flag of the real server from a misspelled one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name.removeprefix("--") not in _FOREIGN_FLAGS.split():
                raise
            raise click.UsageError(
                f"{error.option_name} is a flag of tensorflow_model_server that this stand-in does not have: leave it "
                "out, or run the real server.",
                ctx,
            ) from None


def _flags(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each field of Settings; booleans also work as --flag and --flag=false."""
    help_texts = flag_help()
    for field in reversed(fields(Settings)):
        default = _DEFAULTS.get(field.name, field.default)
        kind = _RANGES.get(field.name, type(default))
        extra: dict[str, Any] = {"is_flag": False, "flag_value": "true"} if kind is bool else {}
        command = click.option(
            f"--{field.name}",
            type=kind,
            default=default,
            show_default=default is not False and default != "",
            help=help_texts.get(field.name),
            **extra,
        )(command)
    return command


def _show_version(context: click.Context, parameter: click.Parameter, is_given: bool) -> None:
    if not is_given:
        return
    click.echo(f"TensorFlow ModelServer: {_IMITATED} (stand-in, sparsehead {version('sparsehead')})")
    with contextlib.suppress(PackageNotFoundError):
        click.echo(f"TensorFlow Library: {version('tensorflow')}")
    context.exit()


@click.command(cls=_Command)
@_flags
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
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
