"""A model with two heads, batched in the graph: exported, served to many at a time, called and checked."""

from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

import keras
import numpy as np

from client import ServingClient
from exporter import Classifier, ExportOptions, export
from server import ModelServer, Settings
from signatures import Batching


@pytest.fixture(scope="module", params=[None, Batching(max_batch_size=16, batch_timeout_micros=20_000)])
def served(request, tmp_path_factory):
    """The model, its version, and the address of a server of it; requests share runs or do not."""
    keras.utils.set_random_seed(5)
    x = keras.Input((6,), name="x")
    hidden = keras.layers.Dense(8, activation="relu")(x)
    topics = keras.layers.Dense(5, activation="sigmoid", name="topics")(hidden)
    model = keras.Model(x, [topics, keras.layers.Dense(3, name="embedding")(hidden)])
    output = tmp_path_factory.mktemp("models")
    classifier = Classifier(model, "two", output_name="topics", also_outputs=("embedding",))
    version = export(classifier, output, options=ExportOptions(batching=request.param))
    with ModelServer(Settings(model_name="two", model_base_path=str(output / "two"))) as server:
        yield model, version.path, f"localhost:{server.port}"


def test_the_check_asks_every_signature(served):
    _, version, address = served
    with ServingClient(address, "two") as client:
        result = client.check(version)
    assert result.passed, result
    assert result.not_asked == ()


def test_requests_that_come_together_get_their_own_rows(served):
    model, _, address = served
    random = np.random.default_rng(1)
    requests = [random.normal(size=(size, 6)).astype(np.float32) for size in (1, 2, 3, 1, 2, 3, 1, 2)]
    with ServingClient(address, "two") as client, ThreadPoolExecutor(len(requests)) as pool:
        waiting = [pool.submit(client.predict, x, k=1, signature="top_k") for x in requests]
        for x, answer in zip(requests, waiting, strict=True):
            answered = answer.result()
            assert answered["indices"].shape == (len(x), 1)
            np.testing.assert_allclose(answered["embedding"], model(x)[1], rtol=1e-4, atol=1e-6)
