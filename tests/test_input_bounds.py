"""What an export knows of the values of its inputs, which a load test keeps to."""

import json

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

import keras

from client.cli.commands import run
from client.samples import read_bounds
from exporter import Classifier, export
from server import ModelServer, Settings
from signatures.contract.record import ExportRecord

VOCABULARY = ["cat", "dog", "owl"]


def model():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    text = keras.Input((), dtype="string", name="text")
    # Fails for any other word.
    words = keras.Input((2,), dtype="string", name="words")
    known = keras.layers.StringLookup(vocabulary=VOCABULARY, num_oov_indices=0, output_mode="multi_hot")(words)
    age = keras.Input((1,), name="age")
    parts = [
        keras.layers.Flatten()(keras.layers.Embedding(3, 4)(tokens)),
        keras.layers.TextVectorization(vocabulary=[f"word{n}" for n in range(2000)], output_mode="multi_hot")(text),
        known,
        age,
    ]
    scores = keras.layers.Dense(4, activation="sigmoid")(keras.layers.Concatenate()(parts))
    return keras.Model([tokens, text, words, age], scores)


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    keras.utils.set_random_seed(1)
    classifier = Classifier(model(), "mixed", input_names={"tokens": "ids"})
    return export(classifier, tmp_path_factory.mktemp("models")).path


def test_the_record_holds_the_size_of_embeddings_and_the_words_of_vocabularies(version):
    bounds = read_bounds(ExportRecord.read(version).input_bounds)

    assert set(bounds) == {"ids", "text", "words"}
    assert bounds["ids"].ids == 3
    assert bounds["words"].words == tuple(VOCABULARY)
    assert 50 < len(bounds["text"].words) <= 300


def test_a_load_test_makes_up_inputs_that_the_model_takes(version, capfd):
    with ModelServer(Settings(model_name="mixed", model_base_path=str(version.parent))) as server:
        connection = ["--address", f"localhost:{server.port}", "--model", "mixed"]
        measure = ["bench", "--random", "--golden", str(version), "--count", "20", "--batch", "8", "--warmup", "0"]
        status = run([*connection, *measure, "--json"])
    answer = json.loads(capfd.readouterr().out)
    assert status == 0, answer
    assert answer["inputs"] == "random"
    assert not any(result["errors"] for result in answer["results"])


def test_a_version_of_an_earlier_release_states_no_bounds(version, tmp_path):
    record = json.loads((version / "assets.extra" / "export.json").read_text())
    del record["input_bounds"]
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "export.json").write_text(json.dumps(record))
    assert read_bounds(ExportRecord.read(tmp_path).input_bounds) == {}
