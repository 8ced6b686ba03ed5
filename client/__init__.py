"""A gRPC client of TensorFlow Serving that needs no TensorFlow."""

import os

# gRPC writes each failed TLS handshake to stderr unless told otherwise, and reads this when it is imported. ERROR is
# what it documents as its default.
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
