"""A model with two heads, batched in the graph: exported, served to many at a time, called and checked."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

import keras
import numpy as np

from client import ServingClient
from client.cli.commands import run
from exporter import Classifier, ExportOptions, export
from server import ModelServer, Settings
from signatures import Batching


@pytest.fixture(scope="module", params=[None, Batching(max_batch_size=16, batch_timeout_micros=20_000)])
def served(request, free_port, tmp_path_factory):
    """The model, its version, and the address of a server of it; requests share runs or do not."""
    keras.utils.set_random_seed(5)
    x = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(8, activation="relu")(x)
    topics = keras.layers.Dense(5, activation="sigmoid", name="topics")(hidden)
    model = keras.Model(x, [topics, keras.layers.Dense(3, name="embedding")(hidden)])
    output = tmp_path_factory.mktemp("models")
    classifier = Classifier(model, "two", output_name="topics", also_outputs=("embedding",))
    version = export(classifier, output, options=ExportOptions(batching=request.param))
    settings = Settings(model_name="two", model_base_path=str(output / "two"), rest_api_port=free_port())
    with ModelServer(settings) as server:
        yield model, version.path, f"localhost:{server.port}", f"localhost:{server.rest_port}"


def test_the_check_asks_every_signature_over_grpc_and_rest(served, capfd):
    _, version, address, rest = served
    check = ["check", "--golden", str(version), "--rest", rest, "--json"]
    status = run(["--address", address, "--model", "two", *check])
    answer = json.loads(capfd.readouterr().out)
    assert (status, answer["rest"]["passed"], answer["not_asked"]) == (0, True, []), answer


def test_rest_answers_with_an_object_for_each_row(served):
    model, _, _, rest = served
    x = np.ones((2, 6), np.float32)
    body = json.dumps({"signature_name": "fixed_k", "instances": x.tolist()}).encode()
    with urllib.request.urlopen(f"http://{rest}/v1/models/two:predict", body, timeout=30) as response:
        rows = json.load(response)["predictions"]
    np.testing.assert_allclose([row["embedding"] for row in rows], model(x)[1], rtol=1e-4)
    assert [np.count_nonzero(row["probabilities"]) for row in rows] == [2, 2]


def test_requests_that_come_together_get_their_own_rows(served):
    model, _, address, _ = served
    random = np.random.default_rng(1)
    requests = [random.normal(size=(size, 6)).astype(np.float32) for size in (1, 2, 3, 1, 2, 3, 1, 2)]
    with ServingClient(address, "two") as client, ThreadPoolExecutor(len(requests)) as pool:
        waiting = [pool.submit(client.predict, x, k=1, signature="top_k") for x in requests]
        for x, answer in zip(requests, waiting, strict=True):
            answered = answer.result()
            assert answered["indices"].shape == (len(x), 1)
            np.testing.assert_allclose(answered["embedding"], model(x)[1], rtol=1e-4, atol=1e-6)
