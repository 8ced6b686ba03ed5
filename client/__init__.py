"""A gRPC client for TensorFlow Serving that does not need TensorFlow."""

import os

# By default, gRPC writes each failed TLS handshake to stderr. It reads this setting when it is imported. ERROR is the
# documented default.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from client.aio import AsyncServingClient
from client.client import ServingClient
from client.errors import ClientError, DecodeError, InputError, ServerError, UnreachableError
from client.recording.recorder import Recorder
from client.rpc.channel import ChannelOptions, Keepalive, Retry, Tls

__all__ = [
    "AsyncServingClient",
    "ChannelOptions",
    "ClientError",
    "DecodeError",
    "InputError",
    "Keepalive",
    "Recorder",
    "Retry",
    "ServerError",
    "ServingClient",
    "Tls",
    "UnreachableError",
]
