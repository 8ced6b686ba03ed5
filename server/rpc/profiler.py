"""TensorFlow's profiler service, with which TensorBoard records what a server does for a while."""

import time
from typing import Any

import grpc
import tensorflow as tf
from google.protobuf.empty_pb2 import Empty
from google.protobuf.unknown_fields import UnknownFieldSet

from server.caller import Caller
from server.errors import ServingError

# Numbers of fields in ProfileRequest and ProfileOptions; TensorFlow's package has no Python class for the request.
_OPTIONS, _DIRECTORY = 4, 5
_HOST_LEVEL, _DEVICE_LEVEL, _PYTHON_LEVEL, _DURATION_MS = 2, 3, 4, 9


def profile(request: Empty, caller: Caller) -> Empty:
    """Answer a ProfileRequest: record the process for the requested time, and save the trace in the directory."""
    fields = _read_fields(request)
    options = _read_fields(Empty.FromString(fields.get(_OPTIONS, b"")))
    levels = tf.profiler.experimental.ProfilerOptions(
        host_tracer_level=options.get(_HOST_LEVEL, 0),
        python_tracer_level=options.get(_PYTHON_LEVEL, 0),
        device_tracer_level=options.get(_DEVICE_LEVEL, 0),
    )
    # TensorFlow itself appends these two folders, where TensorBoard looks.
    directory = fields.get(_DIRECTORY, b"").decode().removesuffix("plugins/profile")
    until = time.monotonic() + options.get(_DURATION_MS, 0) / 1e3
    try:
        with tf.profiler.experimental.Profile(directory, levels):
            while caller.is_waiting() and time.monotonic() < until:
                time.sleep(0.01)
    except tf.errors.OpError as error:
        raise ServingError(grpc.StatusCode.INTERNAL, error.message) from None
    # A ProfileResponse without fields says that the trace is not empty.
    return Empty()


def _read_fields(message: Empty) -> dict[int, Any]:
    fields = UnknownFieldSet(message)
    return {fields[i].field_number: fields[i].data for i in range(len(fields))}
