import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exporter.presets import digits
from exporter.presets.digits.images import LABELS, NO_SCAN, compose, load_scans

FOLDER = Path(digits.__file__).parent


@pytest.fixture(scope="module")
def scans():
    return load_scans()


@pytest.fixture(scope="module")
def metrics():
    return json.loads((FOLDER / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def model():
    import keras

    return keras.models.load_model(FOLDER / "digits.keras")


@pytest.fixture(scope="module")
def judged(model, scans):
    """Held-out images that training and measuring did not compose, with the model's scores."""
    from exporter.presets.digits.train import unit

    images = compose(scans[1], 1000, seed=77)
    return model.predict(unit(images.pixels), batch_size=250, verbose=0), images.labels


def test_the_same_seed_composes_the_same_pictures_and_another_seed_others(scans):
    one, again, other = (compose(scans[0], 50, seed) for seed in (5, 5, 6))
    for field in ("pixels", "labels", "rows"):
        np.testing.assert_array_equal(getattr(one, field), getattr(again, field))
    assert not np.array_equal(one.pixels, other.pixels)


def test_pictures_hold_one_or_two_different_digits_and_every_digit_occurs(scans):
    images = compose(scans[0], 400, seed=5)
    assert images.pixels.shape == (400, 32, 32, 1)
    assert images.pixels.dtype == np.uint8
    assert set(images.labels.sum(axis=1)) == {1, 2}
    assert images.labels.any(axis=0).all()


def test_labels_are_the_digits_of_the_scans_in_the_picture(scans):
    from sklearn.datasets import load_digits

    targets = load_digits().target
    images = compose(scans[1], 200, seed=5)
    for labels, rows in zip(images.labels, images.rows, strict=True):
        assert set(np.flatnonzero(labels)) == set(targets[rows[rows != NO_SCAN]])


def test_no_scan_is_in_both_a_training_and_a_held_out_picture(scans):
    training, held_out = (
        set(compose(part, 1500, seed).rows.ravel()) - {NO_SCAN} for part, seed in zip(scans, (5, 6), strict=True)
    )
    assert len(training) > 800
    assert len(held_out) > 400
    assert max(training) < min(held_out)


def test_the_split_falls_between_two_forms(scans):
    from sklearn.datasets import load_digits

    targets = load_digits().target
    first = scans[1].rows[0]
    # Every form asks for 0 to 9 at its start and ends alike; see images.py.
    assert list(targets[first : first + 20]) == [*range(10)] * 2
    np.testing.assert_array_equal(targets[first - 20 : first], targets[110:130])


def test_the_shipped_samples_are_the_composed_held_out_images(scans):
    from exporter.presets.digits.train import SAMPLE_IMAGES, SAMPLE_SEED

    samples = compose(scans[1], SAMPLE_IMAGES, SAMPLE_SEED)
    files = sorted((FOLDER / "samples").glob("*.png"))
    truth = json.loads((FOLDER / "samples" / "labels.json").read_text(encoding="utf-8"))
    assert [file.name for file in files] == list(truth)
    assert len(files) == SAMPLE_IMAGES
    for file, pixels, labels in zip(files, samples.pixels, samples.labels, strict=True):
        with Image.open(file) as picture:
            assert picture.mode == "L"
            np.testing.assert_array_equal(np.asarray(picture), pixels[:, :, 0])
        assert truth[file.name] == [LABELS[label] for label in np.flatnonzero(labels)]
    assert samples.labels.any(axis=0).all()
    assert set(samples.labels.sum(axis=1)) == {1, 2}


def test_the_shipped_labels_are_those_of_the_images():
    assert (FOLDER / "labels.txt").read_text(encoding="utf-8").split() == list(LABELS)


def test_the_shipped_model_takes_unit_images_by_that_name_and_scores_eight_labels(model, metrics):
    (images,) = model.inputs
    assert (images.name, images.shape, images.dtype) == ("images", (None, 32, 32, 1), "float32")
    assert model.output_shape == (None, 8)
    assert model.count_params() == metrics["parameters"]


def test_the_shipped_model_carries_no_optimizer_and_no_code_of_its_own():
    with zipfile.ZipFile(FOLDER / "digits.keras") as archive:
        config = json.loads(archive.read("config.json"))
    assert not config.get("compile_config")
    layers = config["config"]["layers"]
    assert {layer["module"] for layer in layers} == {"keras.layers"}
    assert "Lambda" not in {layer["class_name"] for layer in layers}


def test_the_shipped_model_keeps_its_measured_quality_on_fresh_held_out_images(judged, metrics):
    from exporter.presets.digits.train import keep_largest, measure

    scores, labels = judged
    for measured, stated in (
        (measure(scores, labels), metrics["dense"]),
        (measure(keep_largest(scores, metrics["k"]), labels), metrics["capped"]),
    ):
        assert measured["exact_match"] >= 0.94
        share = stated["exact_match"]
        noise = math.sqrt(share * (1 - share) * (1 / len(labels) + 1 / metrics["held_out_images"]))
        assert abs(measured["exact_match"] - share) < 3 * noise
        assert measured["f1_micro"] == pytest.approx(stated["f1_micro"], abs=0.01)
        assert measured["f1_macro"] == pytest.approx(stated["f1_macro"], abs=0.01)


def test_measured_by_hand():
    from exporter.presets.digits.train import measure

    labels = np.array([[1, 0], [1, 1], [0, 1]], np.uint8)
    scores = np.array([[0.5, 0.1], [0.9, 0.4], [0.6, 0.7]], np.float32)
    # Called: [1, 0], [1, 0], [1, 1]. Label 0 has F1 2*2/(2*2+1+0), label 1 has 2*1/(2*1+0+1).
    assert measure(scores, labels) == {
        "exact_match": pytest.approx(1 / 3, abs=1e-5),
        "f1_micro": pytest.approx(6 / 8, abs=1e-5),
        "f1_macro": pytest.approx((4 / 5 + 2 / 3) / 2, abs=1e-5),
    }


def test_keep_largest_keeps_exactly_k_and_of_equal_scores_the_lower_index():
    from exporter.presets.digits.train import keep_largest

    scores = np.array([[0.2, 0.9, 0.4, 0.3], [0.5, 0.5, 0.5, 0.5]], np.float32)
    expected = np.array([[0, 0.9, 0.4, 0], [0.5, 0.5, 0, 0]], np.float32)
    np.testing.assert_array_equal(keep_largest(scores, 2), expected)
