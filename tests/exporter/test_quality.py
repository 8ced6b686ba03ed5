"""The gate on labeled samples, asked through the exported signatures."""

import json

import keras
import numpy as np
import pytest

from exporter import (
    Classifier,
    ExportError,
    ExportOptions,
    Samples,
    SourceOptions,
    ValidationError,
    export,
    load_classifier,
)


def echo():
    """A classifier whose scores are its inputs."""
    model = keras.Sequential([keras.Input((3,), name="scores"), keras.layers.Dense(3, kernel_initializer="identity")])
    return Classifier(model, "echo")


SCORES = np.array([[0.9, 0.1, 0.2], [0.9, 0.8, 0.7], [0.6, 0.2, 0.4]], np.float32)
TRUTH = np.array([[1, 0, 0], [1, 1, 1], [0, 1, 0]], bool)


def test_figures_by_hand(tmp_path):
    version = export(echo(), tmp_path, k=2, samples=Samples({"scores": SCORES}, truth=TRUTH))

    # With k = 2 said are [1, 0, 0], [1, 1, 0] and [1, 0, 0]: 3 of 4 are true, and 5 would have been.
    assert version.quality.samples == 3
    assert version.quality.exact_match == pytest.approx(1 / 3)
    assert version.quality.f1 == pytest.approx(2 * 3 / (4 + 5))
    assert version.quality.more_than_k == pytest.approx(1 / 3)
    record = json.loads((version.path / "assets.extra" / "export.json").read_text())
    assert record["quality"]["f1"] == pytest.approx(6 / 9)


@pytest.mark.parametrize(
    ("option", "just", "words"),
    [
        ("min_exact_match", 1 / 3, r"exact match on 3 labeled samples is 0.3333, below --min-exact-match 0.3433"),
        ("min_f1", 6 / 9, r"f1 on 3 labeled samples is 0.6667, below --min-f1 0.6767"),
    ],
)
def test_what_is_not_good_enough_is_not_published(option, just, words, tmp_path):
    classifier, samples = echo(), Samples({"scores": SCORES}, truth=TRUTH)

    with pytest.raises(ValidationError, match=words):
        export(classifier, tmp_path, k=2, options=ExportOptions(**{option: just + 0.01}), samples=samples)
    assert list(tmp_path.iterdir()) == []
    options = ExportOptions(**{option: just - 0.01})
    assert export(classifier, tmp_path, k=2, options=options, samples=samples).version == 1


@pytest.mark.parametrize("option", ["min_exact_match", "min_f1"])
def test_a_demand_without_labeled_samples_is_refused(option, tmp_path):
    with pytest.raises(ValidationError, match="needs labeled samples, and there are none"):
        export(echo(), tmp_path, options=ExportOptions(**{option: 0.1}), samples=Samples({"scores": SCORES}))
    assert list(tmp_path.iterdir()) == []


def test_a_truth_of_another_shape_was_a_traceback_after_all_the_work(tmp_path):
    samples = Samples({"scores": SCORES}, truth=TRUTH[:, :2])
    with pytest.raises(ExportError, match=r"a truth of shape \[3, 2\]; the shape \[3, 3\] is needed"):
        export(echo(), tmp_path, k=2, samples=samples)


def test_without_labels_nothing_is_said_of_quality(tmp_path):
    assert export(echo(), tmp_path, samples=Samples({"scores": SCORES})).quality is None


def test_a_sample_of_unknown_truth_counted_as_one_without_a_true_label(tmp_path):
    samples = Samples({"scores": SCORES}, truth=TRUTH & False, known=np.array([False, True, False]))
    samples.truth[1] = TRUTH[1]
    version = export(echo(), tmp_path, k=2, samples=samples)
    assert (version.quality.samples, version.quality.more_than_k) == (1, 1.0)
    assert version.quality.f1 == pytest.approx(2 * 2 / (2 + 3))
    assert "The true labels of 2 of the 3 samples are unknown: the gate judges the other 1." in version.warnings

    with pytest.raises(ValidationError, match=r"exact match on 1 labeled samples is 0\.0000"):
        export(echo(), tmp_path, k=2, options=ExportOptions(min_exact_match=0.5), samples=samples)


def test_digits_with_another_preprocessing_than_its_training_is_caught(tmp_path):
    demand = ExportOptions(min_exact_match=0.8)

    with pytest.raises(ValidationError, match=r"exact match on 32 labeled samples is .*, below --min-exact-match"):
        export(load_classifier("digits", SourceOptions(preprocessing="none")), tmp_path, options=demand)
    assert list(tmp_path.iterdir()) == []
    assert export(load_classifier("digits"), tmp_path, options=demand).quality.exact_match >= 0.8
