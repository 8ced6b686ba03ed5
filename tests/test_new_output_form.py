"""A new output form, as an exercise: it touches `output_forms.py` and `contract/answers.py`, and nothing else."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from client import ServingClient
from exporter import Classifier, ValidationError, export
from server.config import Settings
from server.model_server import ModelServer
from signatures import OutputForm
from signatures.contract import answers
from signatures.contract.judge import judge_sparse
from signatures.head import sparsify_top_k
from signatures.output_forms import OUTPUT_FORMS

LABELS = 5


def percentages(more=0):
    """What `output_forms.py` would get: the sparsified vector in percent. `more` keeps too many entries."""

    def form(labels):
        return OutputForm(
            {"percentages": tf.TensorSpec([None, len(labels)], tf.float32)},
            lambda dense, limits: {"percentages": 100 * sparsify_top_k(dense, limits.k + more, *limits[1:])},
        )

    return form


# What `contract/answers.py` would get.
IN_PERCENT = answers.AnswerForm(
    dtypes={"percentages": np.dtype(np.float32)},
    width=lambda labels, k: labels,
    judge=lambda row, dense, k, bounds, labels, tolerance: judge_sparse(
        dense, row["percentages"] / 100, k, tolerance, bounds
    ),
    dense=lambda outputs, labels: (outputs["percentages"] / 100, ""),
)


@pytest.fixture
def toy(monkeypatch):
    def make(form):
        monkeypatch.setitem(OUTPUT_FORMS, "percent", form)
        monkeypatch.setattr(answers, "ANSWER_FORMS", (*answers.ANSWER_FORMS, IN_PERCENT))
        keras.utils.set_random_seed(1)
        layers = [keras.Input((4,), name="features"), keras.layers.Dense(LABELS, activation="sigmoid")]
        return Classifier(keras.Sequential(layers), "toy")

    return make


def test_it_is_traced_validated_served_and_checked_like_all_others(toy, tmp_path):
    version = export(toy(percentages()), tmp_path, k=2)
    settings = Settings(model_name="toy", model_base_path=str(tmp_path / "toy"), port=0)
    with ModelServer(settings) as server, ServingClient(f"localhost:{server.port}", "toy") as client:
        answer = client.predict(np.ones((2, 4), np.float32), k=[1, 2], signature="percent")["percentages"]
        result = client.check(version.path)
    assert np.count_nonzero(answer, axis=1).tolist() == [1, 2]
    assert result.passed, result
    assert {each.signature: each.answers for each in result.signatures}["percent"] > 0


def test_a_wrong_one_is_not_published(toy, tmp_path):
    with pytest.raises(ValidationError, match=r"percent with .* is wrong"):
        export(toy(percentages(more=1)), tmp_path, k=2)
