"""Signatures that a user adds: traced, guarded, validated and recorded as ours are."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from client import ServingClient
from exporter import Classifier, ExportError, ValidationError, export, load_classifier
from exporter.sources.examine import examine
from exporter.validation.loaded import LoadedVersion
from exporter.writing.prediction_logs import read_requests
from server.config import Settings
from server.errors import ServingError
from server.model_server import ModelServer
from signatures import Limits, OutputForm
from signatures.contract.record import ExportRecord
from signatures.input_forms import tensors_form
from signatures.output_forms import probabilities_output

EXAMPLE = Path(__file__).parents[2] / "examples" / "flip_and_average.py"
LABELS = 4


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("flip_and_average", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy():
    keras.utils.set_random_seed(1)
    layers = [keras.Input((6,), name="features"), keras.layers.Dense(LABELS, activation="sigmoid")]
    return Classifier(keras.Sequential(layers), "toy")


def reversed_too(classifier):
    """Features are asked about as they are and reversed; the scores are averaged."""
    plain = tensors_form(classifier.inputs.specs, {}, 2)

    def read(received):
        (features,), limits = plain.read(received)
        return [tf.concat([features, tf.reverse(features, [1])], axis=0)], limits

    def average(scores):
        return tf.reduce_mean(tf.stack(tf.split(scores, 2)), axis=0)

    return replace(plain, read=read, combine=average)


def test_the_examples_signature_averages_an_image_and_its_mirror_image(example, tmp_path):
    digits = load_classifier("digits")

    version = export(digits, tmp_path, k=2, own_signatures=example.own_signatures(digits, 2))

    images = examine(digits)[1].inputs["images"][:3]
    expected = (digits.model(images).numpy() + digits.model(images[:, :, ::-1]).numpy()) / 2
    with LoadedVersion(version.path) as loaded:
        answer = loaded.call("flipped_top_k", {"images": images, "k": np.array(3, np.int32)})
        with pytest.raises(ServingError):
            loaded.call("flipped_top_k", {"images": images[:, :5]})
    best = np.argsort(-expected, axis=1, kind="stable")[:, :3]
    np.testing.assert_array_equal(answer["indices"], best)
    np.testing.assert_allclose(answer["scores"], np.take_along_axis(expected, best, axis=1), rtol=1e-4, atol=1e-5)
    assert ExportRecord.read(version.path).signatures["flipped_top_k"]["inputs"]["images"]["shape"] == [-1, 32, 32, 1]
    warmed_up = {key for key, _ in read_requests(version.path / "assets.extra" / "tf_serving_warmup_requests")}
    assert "flipped_top_k" in warmed_up


def refused(output, error, own):
    with pytest.raises(error) as caught:
        export(toy(), output, k=2, own_signatures=own)
    assert list(output.iterdir()) == []
    return str(caught.value)


def test_one_that_computes_something_else_in_the_graph_is_not_published(tmp_path):
    form = reversed_too(toy())
    in_graph_only = replace(
        form, combine=lambda scores: form.combine(scores) * (1.0 if tf.executing_eagerly() else 0.9)
    )
    own = {"both": (in_graph_only, probabilities_output([str(n) for n in range(LABELS)]))}

    assert refused(tmp_path, ValidationError, own).startswith("both with k = N is wrong for sample 0: the score is ")


def test_one_whose_answers_are_not_the_k_largest_is_not_published(tmp_path):
    dense = probabilities_output([str(n) for n in range(LABELS)])
    keeps_all = OutputForm(
        dense.outputs, lambda scores, limits: dense.write(scores, Limits(tf.fill(tf.shape(limits.k), LABELS)))
    )

    said = refused(tmp_path, ValidationError, {"both": (reversed_too(toy()), keeps_all)})
    assert "both with k left out is wrong for sample 0: 4 scores are not zero, at most 2 may be" in said


def test_one_that_guards_nothing_is_not_published(tmp_path):
    form = reversed_too(toy())

    def read(received):
        features = tf.reshape(received["features"], [-1, 6])
        k = tf.broadcast_to(tf.reshape(received["k"], [-1]), [tf.shape(features)[0]])
        return [tf.concat([features, features], axis=0)], Limits(k)

    own = {"both": (replace(form, read=read), probabilities_output([str(n) for n in range(LABELS)]))}
    assert "both answers a request with features of shape [2, 6, 2], which it should refuse" in refused(
        tmp_path, ValidationError, own
    )


def test_what_cannot_be_asked_or_judged_is_refused_before_any_work(tmp_path):
    form, answer = reversed_too(toy()), probabilities_output([str(n) for n in range(LABELS)])
    angle = replace(form, inputs={**form.inputs, "angle": tf.TensorSpec([None], tf.float32)})
    entropy = OutputForm(
        {"entropy": tf.TensorSpec([None], tf.float32)}, lambda scores, limits: {"entropy": scores[:, 0]}
    )

    assert "takes 'angle', which no sample holds" in refused(tmp_path, ExportError, {"turned": (angle, answer)})
    assert "takes k without a default" in refused(tmp_path, ExportError, {"x": (replace(form, defaults={}), answer)})
    assert "answers entropy, which no check can judge" in refused(tmp_path, ExportError, {"x": (form, entropy)})
    assert "'top_k' is the name of a standard signature" in refused(tmp_path, ExportError, {"top_k": (form, answer)})


def test_the_check_asks_an_own_signature_and_compares_it_with_its_own_dense_scores(tmp_path):
    classifier, _ = examine(toy())
    own = {"averaged": (reversed_too(classifier), probabilities_output(classifier.labels))}
    version = export(toy(), tmp_path, k=2, own_signatures=own)
    settings = Settings(model_name="toy", model_base_path=str(tmp_path / "toy"), port=0)
    with ModelServer(settings) as server, ServingClient(f"localhost:{server.port}", "toy") as client:
        result = client.check(version.path)
    assert result.passed, result
    assert result.not_asked == ()
    assert {each.signature: each.answers for each in result.signatures}["averaged"] > 0
