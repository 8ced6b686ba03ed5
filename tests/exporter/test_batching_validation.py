"""Batching in the graph of models whose inputs have no fixed length, from the export to twelve clients at once."""

import threading

import keras
import numpy as np
import pytest

import signatures.batching
from client import ServerError, ServingClient
from exporter import Classifier, ExportError, ExportOptions, Samples, ValidationError, export
from exporter.writing.prediction_logs import read_requests
from server.config import Settings
from server.model_server import ModelServer
from signatures import Batching

LABELS = 8


def tokens(*, masked=True):
    """A classifier of token ids of any length."""
    keras.utils.set_random_seed(1)
    ids = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(50, 8, mask_zero=masked, embeddings_initializer="random_normal")(ids)
    x = keras.layers.GlobalAveragePooling1D()(x)
    x = keras.layers.Dense(LABELS, activation="sigmoid", kernel_initializer="random_normal")(x)
    return Classifier(keras.Model(ids, x), "tokens")


def refusal(output, error, classifier, samples=None, **options):
    with pytest.raises(error) as caught:
        export(classifier, output, options=ExportOptions(**options), samples=samples)
    assert list(output.iterdir()) == []
    return str(caught.value)


def keep_k_largest(dense, k):
    ranks = np.argsort(np.argsort(-dense, axis=1, kind="stable"), axis=1, kind="stable")
    return np.where(ranks < k, dense, 0)


def test_twelve_threads_of_requests_of_any_length_are_all_answered_as_keras_does(tmp_path):
    classifier = tokens()
    version = export(classifier, tmp_path, options=ExportOptions(batching=Batching(pad_to=(4, 8, 16))))
    wrong = []

    def ask(client, seed):
        generator = np.random.default_rng(seed)
        for _ in range(20):
            ids = generator.integers(1, 50, (generator.integers(1, 3), generator.integers(3, 15)), np.int32)
            k = int(generator.integers(0, LABELS + 1))
            try:
                answer = client.predict(ids, k)["probabilities"]
                expected = keep_k_largest(np.asarray(classifier.model(ids)), k)
                np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)
            except Exception as error:
                wrong.append(error)

    settings = Settings(model_name="tokens", model_base_path=str(tmp_path / "tokens"), port=0)
    with ModelServer(settings) as server, ServingClient(f"localhost:{server.port}", "tokens") as client:
        assert client.check(version.path).passed
        threads = [threading.Thread(target=ask, args=(client, seed)) for seed in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_model_of_variable_length_is_refused_without_lengths_to_pad_to(tmp_path):
    refused = refusal(tmp_path, ExportError, tokens(), batching=Batching())
    assert "pass --pad-to 16,32,64" in refused
    assert "\n" not in refused


def test_the_servers_own_batching_of_a_model_of_variable_length_is_refused(tmp_path):
    refused = refusal(tmp_path, ExportError, tokens(), server_batching=Batching())
    assert "pass --batching in-graph --pad-to 16,32,64" in refused


def test_a_model_that_does_not_mask_its_padding_is_refused_with_the_reason(tmp_path):
    refused = refusal(tmp_path, ValidationError, tokens(masked=False), batching=Batching(pad_to=(8, 64)))
    assert refused.startswith("Padding changes the model's answers: by ")
    assert "mask_zero=True" in refused


def words():
    """A classifier of words of any number, which to it are alike if it does not know them. It masks nothing."""
    keras.utils.set_random_seed(1)
    text = keras.Input((None,), dtype="string", name="text")
    known = keras.layers.StringLookup(vocabulary=["red", "green"])(text)
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(3, 8)(known))
    x = keras.layers.Dense(LABELS, activation="sigmoid", kernel_initializer="random_normal")(x)
    return Classifier(keras.Model(text, x), "words")


@pytest.mark.parametrize("samples", [None, Samples({"text": np.array([["blue", "gray", "blue"]])})])
def test_padding_is_told_from_words_that_the_samples_do_not_hold(tmp_path, samples):
    refused = refusal(tmp_path, ValidationError, words(), samples, batching=Batching(pad_to=(8,)))
    assert refused.startswith("Padding changes the model's answers: by ")


def test_a_lookup_that_fails_for_unknown_words_is_not_batched_with_others(tmp_path):
    text = keras.Input((2,), dtype="string", name="text")
    known = keras.layers.StringLookup(
        vocabulary=["red", "green"], num_oov_indices=0, output_mode="count", name="colors"
    )
    model = keras.Model(text, keras.layers.Dense(LABELS, activation="sigmoid")(known(text)))

    refused = refusal(tmp_path, ExportError, Classifier(model, "words"), batching=Batching())
    assert refused.startswith("The layer colors fails for values outside of its vocabulary")


def test_ids_that_no_guard_knows_of_are_named_where_requests_share_runs(tmp_path):
    class OfIds(keras.Model):
        def __init__(self):
            super().__init__()
            self.embed = keras.layers.Embedding(5, 4, name="tokens")
            self.dense = keras.layers.Dense(LABELS, activation="sigmoid")

        def call(self, ids):
            return self.dense(keras.ops.mean(self.embed(ids), axis=1))

    model = OfIds()
    model(np.zeros((1, 3), np.int32))

    alone = export(Classifier(model, "ids"), tmp_path)
    batched = export(Classifier(model, "ids"), tmp_path, options=ExportOptions(batching=Batching(max_batch_size=2)))

    (warning,) = set(batched.warnings) - set(alone.warnings)
    assert "does not declare which of its inputs are ids of its layer tokens: an id that" in warning


def test_requests_that_share_a_run_across_lengths_are_seen_before_publishing(tmp_path, monkeypatch):
    # What the first release exported: all requests in one queue, whatever their length.
    monkeypatch.setattr(signatures.batching, "variable_dimensions", lambda spec: [])
    refused = refusal(tmp_path, ValidationError, tokens(), batching=Batching(batch_timeout_micros=50_000))
    assert " fails: " in refused


def test_samples_longer_than_every_length_are_refused_and_made_up_ones_cut(tmp_path):
    long = Samples({"ids": np.ones((2, 40), np.int32)})
    refused = refusal(tmp_path, ExportError, tokens(), long, batching=Batching(pad_to=(8, 16)))
    assert "Add 40 or more to --pad-to" in refused

    version = export(tokens(), tmp_path, options=ExportOptions(batching=Batching(max_batch_size=2, pad_to=(8, 16))))
    requests = list(read_requests(version.path / "assets.extra" / "tf_serving_warmup_requests"))
    asked = {inputs["ids"].shape for key, inputs in requests if key == "serving_default"}
    assert asked == {(size, length) for size in (1, 2) for length in (8, 16)}


def test_under_the_servers_batching_a_request_is_never_split(tmp_path):
    """Parts of a top_k answer differ in width, and a real server that joins them writes past the end of its memory."""
    numbers = keras.Input((4,), name="numbers")
    model = keras.Model(numbers, keras.layers.Dense(LABELS, activation="sigmoid")(numbers))
    batching = Batching(max_batch_size=3, allowed_batch_sizes=(3,))
    version = export(Classifier(model, "toy"), tmp_path, options=ExportOptions(server_batching=batching))

    settings = Settings(
        model_name="toy",
        model_base_path=str(tmp_path / "toy"),
        enable_batching=True,
        batching_parameters_file=tmp_path / "deploy" / "batching.config",
    )
    with ModelServer(settings) as server, ServingClient(f"localhost:{server.port}", "toy") as client:
        assert client.check(version.path).passed
        answer = client.predict(np.ones((3, 4), np.float32), [1, 2, LABELS], "top_k")
        assert answer["indices"].shape == (3, LABELS)
        with pytest.raises(ServerError, match="larger than maximum input batch size 3"):
            client.predict(np.ones((4, 4), np.float32), [1, 2, 3, LABELS], "top_k")
