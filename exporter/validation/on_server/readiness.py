"""Wait until a server has a version available, or can no longer load it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from exporter.errors import ValidationError
from exporter.validation.on_server.log import is_lost, last_words
from exporter.validation.on_server.servable import Servable
from exporter.validation.on_server.servers.server import Server
from exporter.validation.on_server.target import Target

LAST_WORDS = " Its last words:"

_POLL_SECONDS = 0.3
# How long it may take to notice that a process died, and to read its last words.
_DYING_SECONDS = 10.0
# A server on this machine is called directly, whatever proxy the environment names.
_CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@contextmanager
def channel_to(address: str) -> Iterator[grpc.Channel]:
    """Open a channel to a server on this machine."""
    with grpc.insecure_channel(address, _CHANNEL) as channel:
        yield channel


def wait_until_available(server: Server, target: Target, servable: Servable) -> str:
    """Return the address of a server as soon as the version is available.

    Raises:
        ValidationError: when the server ends, says that it cannot load the version, or misses the deadline; the message
            has its last words.
    """
    until = time.monotonic() + servable.patience
    while True:
        if ended := server.ended():
            raise refusal(target, f"cannot serve this version: {ended}", server)
        address = server.address()
        if address is not None and _is_available(address, servable):
            return address
        if is_lost(server.log()):
            how_it_died(server)
            raise refusal(target, "cannot load this version", server)
        if time.monotonic() > until:
            raise refusal(target, f"did not have this version available after {servable.patience} s", server)
        time.sleep(_POLL_SECONDS)


def how_it_died(server: Server) -> str | None:
    """Return how a server that may be dying ended; None if it keeps running."""
    until = time.monotonic() + _DYING_SECONDS
    while (ended := server.ended()) is None and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    return ended


def refusal(target: Target, what: str, server: Server) -> ValidationError:
    """Return the error for a version that a server refuses, with the server's last words."""
    log = server.log()
    last_lines = last_words(log)
    hint = ""
    if "XLA compilation disabled" in log:
        hint = (
            " XLA must compile the model, which this server does not allow: it needs --xla_cpu_compilation_enabled or, "
            "on a GPU, --xla_gpu_compilation_enabled, which an export with --jit-compile passes."
        )
    if not last_lines:
        return ValidationError(f"{target} {what}. It wrote no log.{hint}")
    indented = "".join(f"\n  {line}" for line in last_lines.splitlines())
    return ValidationError(f"{target} {what}.{hint}{LAST_WORDS}{indented}")


def _is_available(address: str, servable: Servable) -> bool:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = servable.model
    request.model_spec.version.value = servable.version
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    with channel_to(address) as channel:
        try:
            answer = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=5)
        except grpc.RpcError:
            return False
    return any(each.state == available for each in answer.model_version_status)
