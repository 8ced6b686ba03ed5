"""What load_classifier takes besides the text of a command line, and what a notebook shows of an export."""

from pathlib import Path

import keras
import pytest

from exporter import Classifier, ExportError, SourceOptions, export, load_classifier


def model(**named):
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="sigmoid")], **named)


def test_a_model_itself_is_taken_with_its_options():
    built = model(name="pets")
    classifier = load_classifier(built, SourceOptions(labels=["cat", "dog", "owl"], input_names={"x": "amounts"}))
    assert (classifier.model is built, classifier.name) == (True, "pets")
    assert classifier.labels == ("cat", "dog", "owl")
    assert list(classifier.inputs.specs) == ["amounts"]


def test_a_models_name_that_keras_made_up_is_the_same_in_each_run():
    assert {load_classifier(model()).name for _ in range(3)} == {"sequential"}
    assert load_classifier(model(), SourceOptions(name="pets")).name == "pets"


def test_a_path_is_taken_as_its_text_is(tmp_path):
    model().save(tmp_path / "pets.keras")
    assert load_classifier(tmp_path / "pets.keras").name == load_classifier(str(tmp_path / "pets.keras")).name == "pets"
    with pytest.raises(ExportError, match="digits does not exist"):
        load_classifier(Path("digits"))


@pytest.mark.parametrize("source", [None, 3, ["digits"], keras.layers.Dense(2)])
def test_what_is_no_model_is_refused(source):
    with pytest.raises(ExportError, match="cannot be exported: pass a path, a preset's name or a Keras model"):
        load_classifier(source)


def test_a_notebook_shows_an_export_in_a_line(tmp_path):
    labels = tuple(f"label {number}" for number in range(5000))
    x = keras.Input((4,), name="x")
    many = keras.Model(x, keras.layers.Dense(len(labels), activation="sigmoid")(x))
    classifier = Classifier(many, "many", labels=labels)

    version = export(classifier, tmp_path)

    shown = repr(version)
    assert shown.startswith(f"PublishedVersion('{version.path}', signatures=['serving_default', 'top_k', ")
    assert len(shown) < 300
    assert "label 1" not in repr(classifier)
