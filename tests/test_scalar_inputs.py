"""Models whose examples are single values, [B]: text, ids, numbers, flags. Exported, served, checked and promoted.

A value of rank 1 has no dimension of its own beside the batch's, and used to end the check in a traceback.
"""

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

import keras
import numpy as np

from client import ServingClient
from client.cli.commands import run
from exporter import Classifier, ExportOptions, export
from server import ModelServer, Settings

WORDS = ["good", "bad", "dog", "cat", "the"]


def text_model():
    """A classifier of one sentence an example."""
    text = keras.Input((), dtype="string", name="text")
    counted = keras.layers.TextVectorization(vocabulary=WORDS, output_mode="multi_hot")(text)
    return keras.Model(text, keras.layers.Dense(4, activation="sigmoid")(counted))


def record_model():
    """A classifier of one word, id, flag, and number of each width an example."""
    word = keras.Input((), dtype="string", name="word")
    place = keras.Input((), dtype="int32", name="place")
    sold = keras.Input((), dtype="bool", name="sold")
    numbers = [keras.Input((), dtype=dtype, name=dtype) for dtype in ("float32", "float16", "bfloat16", "uint8")]
    parts = [
        keras.layers.StringLookup(vocabulary=WORDS, output_mode="one_hot")(word),
        keras.layers.Embedding(7, 3)(place),
        *(keras.ops.expand_dims(keras.ops.cast(value, "float32"), -1) for value in (sold, *numbers)),
    ]
    scores = keras.layers.Dense(4, activation="sigmoid")(keras.ops.concatenate(parts, -1))
    return keras.Model([word, place, sold, *numbers], scores)


@pytest.fixture(scope="module", params=[text_model, record_model], ids=["text", "record"])
def served(request, tmp_path_factory):
    """The name of an exported model, its output directory, and the address of a server of it."""
    keras.utils.set_random_seed(3)
    output = tmp_path_factory.mktemp("scalar")
    name = request.param.__name__
    export(Classifier(request.param(), name), output, k=2, options=ExportOptions(serving_root=str(output)))
    settings = Settings(
        model_config_file=output / "deploy" / "models.config", allow_version_labels_for_unavailable_models=True
    )
    with ModelServer(settings) as server:
        yield name, output, f"localhost:{server.port}"


def test_a_model_of_single_values_passes_its_check_on_every_signature(served):
    name, output, address = served
    with ServingClient(address, name) as client:
        result = client.check(output / name / "1")
        assert result.passed, result
        assert result.not_asked == ()
        assert {one.signature for one in result.signatures} == set(client.metadata().signatures)


def test_a_model_of_single_values_can_be_promoted(served, capfd):
    name, output, address = served
    connection = ["--address", address, "--model", name]
    move = ["promote", "--version", "1", "--label", "stable", "--config", str(output / "deploy" / "models.config")]
    status = run([*connection, *move, "--yes"])
    assert status == 0, capfd.readouterr().err


@pytest.mark.parametrize("served", [text_model], indirect=True)
def test_texts_are_answered_as_keras_answers_them(served):
    name, _, address = served
    keras.utils.set_random_seed(3)
    model, texts = text_model(), np.array(["the good dog", "bad", ""], object)
    expected = model(keras.ops.convert_to_tensor(texts.tolist(), "string")).numpy()
    with ServingClient(address, name) as client:
        np.testing.assert_allclose(client.predict(texts, k=4)["probabilities"], expected, atol=1e-6)
