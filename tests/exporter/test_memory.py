"""The estimate of a version's memory: what it counts, and how it grows."""

import json

import keras
import pytest
import tensorflow as tf

from exporter import ExportOptions, export, load_classifier
from exporter.memory import estimate_memory, memory_of
from signatures import Batching
from signatures.contract.record import record_file

WIDE = 1000


def save(module, path, **signatures):
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


class Chain(tf.Module):
    """x [B, 10] -> [B, 1000] -> [B, 1000] -> [B, 1], one after another, named as the backbone is."""

    def __init__(self):
        super().__init__()
        self.wide = tf.Variable(tf.ones([10, WIDE]))
        self.narrow = tf.Variable(tf.ones([WIDE, 1]))

        @tf.function(input_signature=[tf.TensorSpec([None, 10])])
        def backbone(x):
            return tf.nn.relu(x @ self.wide) @ self.narrow

        self.backbone = backbone

    @tf.function(input_signature=[tf.TensorSpec([None, 10], name="x")])
    def serve(self, x):
        return {"y": self.backbone(x)}


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    module = Chain()
    return save(module, tmp_path_factory.mktemp("chain") / "1", serving_default=module.serve)


def test_the_weights_are_those_of_the_variables(chain):
    # As TensorFlow stores them, with what it stores of the objects beside them.
    weights = estimate_memory(chain, batch=1).weights
    assert 4 * 11 * WIDE <= weights < 4 * 11 * WIDE + 3000


@pytest.mark.parametrize("batch", [1, 32])
def test_the_activations_are_the_most_that_live_at_once(chain, batch):
    """The result of the first product and that of the relu, [B, 1000] each, and neither the weights nor all tensors."""
    assert estimate_memory(chain, batch=batch).activations == 2 * batch * WIDE * 4


def test_runs_at_the_same_time_each_have_their_activations(chain):
    one = estimate_memory(chain, batch=4)
    three = estimate_memory(chain, batch=4, runs=3)
    assert three.activations == 3 * one.activations
    assert three.total == one.total + 2 * one.activations


def test_a_dimension_without_a_size_has_the_length_that_is_given(tmp_path):
    class Sequences(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, None, 8])])
        def backbone(self, x):
            return tf.reduce_sum(tf.nn.relu(x), [1, 2])

        @tf.function(input_signature=[tf.TensorSpec([None, None, 8], name="x")])
        def serve(self, x):
            return {"y": self.backbone(x)}

    module = Sequences()
    version = save(module, tmp_path / "1", serving_default=module.serve)
    relu = 2 * 16 * 8 * 4
    found = estimate_memory(version, batch=2, length=16).activations
    assert relu <= found < 1.2 * relu


def test_a_function_that_is_called_counts_on_top_of_what_is_alive_around_it(tmp_path):
    class Nested(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 10])])
        def inner(self, x):
            return tf.reduce_sum(tf.nn.relu(tf.tile(x, [1, 100])), -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 10])])
        def backbone(self, x):
            return self.inner(x)

        @tf.function(input_signature=[tf.TensorSpec([None, 10], name="x")])
        def serve(self, x):
            return {"y": self.backbone(x)}

    module = Nested()
    version = save(module, tmp_path / "1", serving_default=module.serve)
    assert estimate_memory(version, batch=4).activations >= 2 * 4 * WIDE * 4


def test_batching_decides_how_large_and_how_many_the_runs_are(chain):
    batching = Batching(max_batch_size=16, num_batch_threads=3)
    for how in ("batching", "server_batching"):
        memory = memory_of(chain, ExportOptions(**{how: batching}), longest=0)
        assert memory["batch"] == 16
        assert memory["activations"] == 3 * 2 * 16 * WIDE * 4
        assert memory["total"] == sum(memory[part] for part in ("weights", "constants", "activations", "graph"))
    # Without, the largest batch that is warmed up.
    assert memory_of(chain, ExportOptions(), longest=0)["batch"] == 4


def test_an_export_records_the_estimate_and_how_long_the_warm_up_took_and_requests_both(tmp_path):
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="sigmoid")])
    model.save(tmp_path / "toy.keras")
    version = export(load_classifier(str(tmp_path / "toy.keras")), tmp_path / "models", k=1)

    record = json.loads(record_file(version.path).read_text())
    assert record["memory"]["total"] > record["memory"]["weights"] > 0
    assert record["warmup_seconds"] > 0
    assert record["validated_on"] == []
    text = (tmp_path / "models" / "deploy" / "kubernetes.yaml").read_text()
    assert f"memory: {-(-(record['memory']['total'] + 512 * 2**20) // 2**20)}Mi" in text
