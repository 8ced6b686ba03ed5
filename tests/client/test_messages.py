import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from client.rpc import messages


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


def test_importing_the_client_runs_no_tensorflow():
    loaded = run(
        "import sys, client, client.cli, client.check; print(sorted(name.split('.')[0] for name in sys.modules))"
    )
    assert "'client'" in loaded
    assert "tensorflow" not in loaded
    assert "keras" not in loaded


def test_help_answers_without_a_server_or_tensorflow():
    commands = [[], ["check"], ["predict"], ["bench"], ["promote"]]
    out = run(
        f"import sys; from client.cli import run; statuses = [run([*one, '--help']) for one in {commands}]; "
        "print('tensorflow' in sys.modules, statuses)"
    )
    assert out.rstrip().endswith(f"False {[0] * len(commands)}")
    assert out.count("Usage: serving-client") == len(commands)


def test_a_message_is_read_as_it_was_written():
    request = messages.PredictRequest()
    request.model_spec.name = "digits"
    request.model_spec.version.value = 3
    request.inputs["k"].int_val.append(2)
    assert messages.PredictRequest.FromString(request.SerializeToString()) == request


def test_the_descriptor_set_is_what_tensorflow_serving_api_has():
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api to compare with")
    pytest.importorskip("tensorflow", reason="tensorflow-serving-api needs TensorFlow")
    path = Path(__file__).with_name("write_descriptor_set.py")
    spec = importlib.util.spec_from_file_location("write_descriptor_set", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shipped = module.DESTINATION.read_bytes()
    assert shipped == module.serialized_descriptor_set(), "run `make descriptors`"


@pytest.mark.parametrize(
    "order",
    [
        "from client.rpc import messages as ours\nfrom tensorflow_serving.apis import predict_pb2 as theirs",
        "from tensorflow_serving.apis import predict_pb2 as theirs\nfrom client.rpc import messages as ours",
    ],
)
def test_ours_and_tensorflow_servings_live_in_one_process_and_agree(order):
    pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api to live with")
    run(
        order
        + """
import numpy as np, tensorflow as tf
request = theirs.PredictRequest(output_filter=["scores"])
request.model_spec.name = "digits"
request.inputs["images"].CopyFrom(tf.make_tensor_proto(np.eye(3, dtype=np.float32)))
read = ours.PredictRequest.FromString(request.SerializeToString())
assert theirs.PredictRequest.FromString(read.SerializeToString()) == request
assert str(read) == str(request)
"""
    )
