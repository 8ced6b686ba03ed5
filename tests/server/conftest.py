"""A tiny model in as many versions as a test wants, and a server for it: ours, or the one that MODEL_SERVER names."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from server import ModelServer, Settings
from server.models.lifecycle import State
from server.tensors import decode, encode

MODEL = "scaler"
REAL_SERVER = os.environ.get("MODEL_SERVER", "")


class Scaler(tf.Module):
    """Multiplies by a variable that differs from version to version, so that an answer tells its version."""

    def __init__(self, vocabulary):
        super().__init__()
        self.factor = tf.Variable(1.0)
        self.vocabulary = tf.saved_model.Asset(vocabulary)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                self.vocabulary,
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            ),
            -1,
        )

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x"), tf.TensorSpec(None, tf.int32, "k")])
    def scale_and_add(self, x, k=tf.constant(0)):  # noqa: B008
        return {"y": x * self.factor + tf.cast(k, tf.float32), "k": k + tf.zeros(tf.shape(x)[:1], tf.int32)}

    @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, "x")])
    def scale(self, x):
        return {"y": tf.ensure_shape(x, [None]) * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x"), tf.TensorSpec([None], tf.float32, "z")])
    def multiply(self, x, z):
        return {"y": x * z}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "steps")])
    def count(self, steps):
        return {
            "steps": tf.while_loop(lambda i: tf.reduce_any(i < steps), lambda i: (i + 1,), (tf.zeros_like(steps),))[0]
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "words")])
    def look_up(self, words):
        return {"numbers": self.table.lookup(words), "words": words}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        classes = tf.tile([["same", "scaled"]], [tf.shape(x)[0], 1])
        return {"classes": classes, "scores": tf.concat([x, x * self.factor], 1)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs):
        x = tf.io.parse_example(inputs, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]
        return {"outputs": x * self.factor}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def compiled(self, x):
        return {"y": self._fused(x)}

    @tf.function(jit_compile=True)
    def _fused(self, x):
        return x * self.factor


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """A SavedModel of a Scaler, and the Scaler."""
    folder = tmp_path_factory.mktemp("template")
    vocabulary = folder / "words.txt"
    vocabulary.write_text("zero\none\ntwo\n")
    module = Scaler(str(vocabulary))
    signatures = {
        "serving_default": module.scale_and_add,
        "scale": module.scale,
        "multiply": module.multiply,
        "count": module.count,
        "look_up": module.look_up,
        "classify": module.classify,
        "regress": module.regress,
        "compiled": module.compiled,
    }
    tf.saved_model.save(module, str(folder / "saved"), signatures=signatures)
    return folder / "saved", module


def write_version(template, path: Path, factor: float = 1.0, *, without: str = "", change=None) -> None:
    """Put a version with its own factor in place, whole or not at all; `without` names a part to leave out."""
    saved, module = template
    staging = path.with_name(f".staging-{path.name}")
    shutil.copytree(saved, staging)
    module.factor.assign(factor)
    tf.train.Checkpoint(module).write(str(staging / "variables" / "variables"))
    if without:
        victim = staging / without
        shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    if change is not None:
        change(staging)
    staging.rename(path)


@pytest.fixture
def make_version(template):
    """write_version for this session's template."""
    return functools.partial(write_version, template)


@pytest.fixture
def base(tmp_path):
    """An empty base path."""
    path = tmp_path / MODEL
    path.mkdir()
    return path


@pytest.fixture
def stand_in_only():
    """For tests that the real server cannot run or would not pass."""
    if REAL_SERVER:
        pytest.skip("says something of the stand-in only, and MODEL_SERVER names another server")


def command_line(program: str | Path, port: int, flags: dict) -> list[str | Path]:
    texts = {name: str(value).lower() if isinstance(value, bool) else value for name, value in flags.items()}
    return [program, f"--port={port}", *(f"--{name}={text}" for name, text in texts.items())]


class Launched(NamedTuple):
    """A server process, perhaps not ready yet. It writes to a file: the real server would fill an unread pipe."""

    address: str
    process: subprocess.Popen
    log: Path


@contextlib.contextmanager
def launched(program: str | Path, port: int, **flags):
    with tempfile.NamedTemporaryFile() as log:
        process = subprocess.Popen(
            command_line(program, port, {"model_name": MODEL, **flags}),
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=Path(__file__).parents[2],
        )
        try:
            yield Launched(f"localhost:{port}", process, Path(log.name))
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(port: int, **flags):
    """The address of a server that is ready; ours runs in this process, at a port of its own choice."""
    if REAL_SERVER:
        with launched(REAL_SERVER, port, **flags) as server, grpc.insecure_channel(server.address) as channel:
            grpc.channel_ready_future(channel).result(timeout=120)
            yield server.address
    else:
        with ModelServer(Settings(**{"model_name": MODEL, **flags})) as server:
            yield f"localhost:{server.port}"


@pytest.fixture
def launch(commands, free_port):
    """A function that starts a server process with these flags and waits for nothing.

    With `alone`, the stand-in's process is the one that is returned, not the one that passes signals on to it.
    """
    with contextlib.ExitStack() as stack:

        def start(*, alone=False, **flags):
            stand_in = (Path(sys.executable).parent if alone else commands) / "serve-model"
            return stack.enter_context(launched(REAL_SERVER or stand_in, free_port(), **flags))

        yield start


@pytest.fixture
def serve(free_port):
    """A function that starts a server with these flags and returns its address once it is ready."""
    with contextlib.ExitStack() as stack:
        yield lambda **flags: stack.enter_context(serving(free_port(), **flags))


@pytest.fixture(scope="session")
def running_both(template, free_port, tmp_path_factory):
    """The address and REST port of one server for all tests that change nothing; its version 1 multiplies by 3."""
    base = tmp_path_factory.mktemp("running")
    write_version(template, base / "1", 3.0)
    rest_port = free_port()
    with serving(free_port(), model_base_path=base, rest_api_port=rest_port) as address:
        yield address, rest_port


@pytest.fixture(scope="session")
def running(running_both):
    """The address of that server."""
    return running_both[0]


def _tensor(value):
    """The TensorProto of an array, or of Python numbers in the types that models mostly take."""
    if hasattr(value, "tensor_shape"):
        return value
    if not isinstance(value, np.ndarray | np.generic):
        value = np.asarray(value)
        value = value.astype({"f": np.float32, "i": np.int32}[value.dtype.kind])
    return encode(np.asarray(value))


class Client:
    """The calls of a server, in the words of these tests."""

    def __init__(self, address: str):
        self.address = address
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self.channel = grpc.insecure_channel(address, options)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def request(self, inputs, signature="", name=MODEL, version=None, label=None, outputs=()):
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        if label is not None:
            request.model_spec.version_label = label
        for key, value in inputs.items():
            request.inputs[key].CopyFrom(_tensor(value))
        request.output_filter.extend(outputs)
        return request

    def predict(self, inputs, signature="", timeout=20, **spec):
        """The outputs as arrays, and the version that answered."""
        response = self.prediction.Predict(self.request(inputs, signature, **spec), timeout=timeout)
        return {key: decode(value) for key, value in response.outputs.items()}, response.model_spec.version.value

    def scale(self, *values, **spec):
        return self.predict({"x": np.array(values, np.float32)}, "scale", **spec)[0]["y"].tolist()

    def error(self, *args, **kwargs):
        """The status name and message of a Predict that must fail."""
        with pytest.raises(grpc.RpcError) as caught:
            self.predict(*args, **kwargs)
        return caught.value.code().name, caught.value.details()

    def statuses(self, name=MODEL):
        """State, error code and message by version."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = name
        response = self.model.GetModelStatus(request, timeout=20)
        return {
            entry.version: (State(entry.state).name, entry.status.error_code, entry.status.error_message)
            for entry in response.model_version_status
        }

    def states(self, name=MODEL):
        return {version: state for version, (state, _, _) in self.statuses(name).items()}

    def wait_for(self, states, name=MODEL, timeout=60):
        """Poll until the states are these; the differing answers on the way, in order."""
        seen = []
        until = time.monotonic() + timeout
        while not seen or seen[-1] != states:
            assert time.monotonic() < until, f"{states} did not come; seen: {seen}"
            now = self.states(name)
            if not seen or seen[-1] != now:
                seen.append(now)
            time.sleep(0.02)
        return seen

    def reload(self, *models, timeout=30):
        """Reconfigure with ModelConfig fields as dicts; the response."""
        request = model_management_pb2.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for model in models:
            request.config.model_config_list.config.add(**{"name": MODEL, "model_platform": "tensorflow", **model})
        return self.model.HandleReloadConfigRequest(request, timeout=timeout)

    def reload_error(self, *models):
        with pytest.raises(grpc.RpcError) as caught:
            self.reload(*models)
        return caught.value.code().name, caught.value.details()


@pytest.fixture
def client():
    """A function that returns a Client for an address."""
    with contextlib.ExitStack() as stack:

        def make(address: str) -> Client:
            made = Client(address)
            stack.callback(made.channel.close)
            return made

        yield make
