"""What a model computes in, and what another precision may change before the export is refused."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

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
from exporter.sources.examine import examine
from exporter.writing.precision import PRECISIONS, cast_backbone, computes_in, deviation, layers_to_cast

LABELS = 5


def record(version):
    return json.loads((version.path / "assets.extra" / "export.json").read_text())


def refusal(classifier, output, error=ValidationError, samples=None, **options):
    with pytest.raises(error) as refused:
        export(classifier, output, k=2, options=ExportOptions(**options), samples=samples)
    assert not output.exists() or list(output.iterdir()) == []
    assert "\n" not in str(refused.value)
    return str(refused.value)


def head(tensor, name=None):
    return keras.layers.Dense(LABELS, activation="sigmoid", kernel_initializer="random_normal", name=name)(tensor)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def quantized(*, convolution):
    """A model whose dense layers are int8, behind a convolution or not."""
    keras.utils.set_random_seed(1)
    images = keras.Input((8, 8, 3), name="images")
    x = keras.layers.Conv2D(8, 3, activation="relu")(images) if convolution else images
    x = keras.layers.Flatten()(x)
    model = keras.Model(images, head(keras.layers.Dense(16, activation="relu")(x)))
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.quantize("int8")
    return model


def policies(model):
    return [layer.dtype_policy for layer in model._flatten_layers()]


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_cast_that_took_int8_layers_for_floats_was_published(precision, tmp_path):
    model = quantized(convolution=True)
    before = policies(model)

    version = export(Classifier(model, "toy"), tmp_path, k=2, options=ExportOptions(precision=precision))

    assert 0 < version.deviation.largest < 0.05
    assert policies(model) == before
    # bfloat16 rounds more than int8 does.
    assert record(version)["precision"] == ("int8" if precision == "mixed_float16" else precision)


def test_a_precision_that_can_change_nothing_is_refused(tmp_path):
    said = refusal(Classifier(quantized(convolution=False), "toy"), tmp_path, ExportError, precision="mixed_float16")
    assert "--precision mixed_float16 would change nothing" in said


class Doubled(keras.layers.Layer):
    """Leaves what float16 can hold, and comes back."""

    def call(self, x):
        return x * 1e5


def overflowing(inputs, scale_down):
    x = keras.layers.Dense(4, kernel_initializer="ones", name="first")(inputs)
    x = Doubled(name="overflows")(x)
    return keras.layers.Rescaling(scale_down, name="comes_back")(x)


def functional():
    inputs = keras.Input((4,))
    return keras.Model(inputs, head(overflowing(inputs, 1e-5)))


def sequential_with_a_model_inside():
    inner = keras.Input((4,))
    return keras.Sequential([keras.Input((4,)), keras.Model(inner, overflowing(inner, 1e-5)), keras.layers.Dense(
        LABELS, activation="sigmoid")])  # fmt: skip


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        # Not in the order of the calls.
        self.last = keras.layers.Dense(LABELS, activation="sigmoid")
        self.back = keras.layers.Rescaling(1e-5)
        self.middle = Doubled(name="overflows")
        self.first = keras.layers.Dense(4, kernel_initializer="ones", name="first")

    def call(self, x):
        return self.last(self.back(self.middle(self.first(x))))


def subclassed():
    model = Subclassed()
    model(np.zeros((2, 4), np.float32))
    return model


@pytest.mark.parametrize("build", [functional, sequential_with_a_model_inside, subclassed])
def test_answers_that_another_precision_broke_were_published_and_now_name_the_layer(build, tmp_path):
    keras.utils.set_random_seed(1)
    said = refusal(Classifier(build(), "toy"), tmp_path, precision="mixed_float16")
    assert said.startswith("In mixed_float16 the answer to sample 0 is not finite")
    assert "The first layer to leave the bound is overflows (Doubled)" in said


def test_the_bound_on_deviation_can_be_moved_and_names_the_first_layer_that_leaves_it(tmp_path):
    classifier = load_classifier("digits")
    said = refusal(classifier, tmp_path / "models", precision="mixed_bfloat16", max_deviation=1e-3)
    assert "more than --max-deviation 0.001 allows" in said
    assert "The first layer to leave the bound is conv2d (Conv2D), whose output differs by" in said
    assert (
        export(classifier, tmp_path, options=ExportOptions(precision="mixed_bfloat16", max_deviation=0.05)).version == 1
    )


def steep():
    """Scores so steep that half precision exchanges labels, each far from any other."""
    features = keras.Input((8,), name="features")
    x = keras.layers.Dense(8, kernel_initializer="identity", name="rounds")(features)
    steep = keras.layers.Lambda(lambda x: (x - 0.5) * 1e4)(x)
    return keras.Model(features, keras.layers.Activation("sigmoid")(steep))


def test_the_bound_on_changed_sets_can_be_moved(tmp_path):
    # In float16 these all are 0.5.
    features = 0.5 + np.random.default_rng(0).permuted(np.tile(np.linspace(-2e-4, 2e-4, 8), (20, 1)), axis=1)
    classifier, samples = Classifier(steep(), "toy"), Samples({"features": features.astype(np.float32)})

    said = refusal(classifier, tmp_path, samples=samples, precision="mixed_float16", max_deviation=1)

    assert "of the kept sets change, more than --max-changed-sets 0.1 allows" in said
    options = ExportOptions(precision="mixed_float16", max_deviation=1, max_changed_sets=1)
    assert export(classifier, tmp_path, k=2, options=options, samples=samples).deviation.changed_sets > 0.5


class OutsideOfLayers(keras.Model):
    def __init__(self):
        super().__init__()
        self.rounds = keras.layers.Dense(LABELS, kernel_initializer="ones", name="rounds")
        self.last = keras.layers.Activation("linear")

    def call(self, x):
        return tf.sigmoid((tf.cast(self.last(self.rounds(x)), tf.float32) - 2.0) * 1e3)


def test_where_no_layer_leaves_the_bound_the_message_says_so(tmp_path):
    keras.utils.set_random_seed(1)
    model = OutsideOfLayers()
    model(np.zeros((2, 4), np.float32))
    samples = Samples({"inputs": np.full((2, 4), 0.5001, np.float32)})
    said = refusal(Classifier(model, "toy"), tmp_path, samples=samples, precision="mixed_float16")
    assert "No single layer left the bound." in said


def test_the_layer_that_computes_the_scores_stays_as_it_is_however_deep_it_lies():
    inner = keras.Input((8,))
    scores = keras.Model(inner, head(keras.layers.Dense(8, name="hidden")(inner), "scores"))
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, name="first"), scores])
    cast = layers_to_cast(*examine(Classifier(model, "toy")), "mixed_float16")
    assert [layer.name for layer in cast] == ["first", "hidden"]


def test_a_map_of_policies_is_as_it_was_after_a_cast():
    shared = keras.dtype_policies.DTypePolicyMap("float32")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, head(keras.layers.Dense(4, dtype=shared, name="first")(inputs)))
    shared[model.get_layer("first").path] = keras.DTypePolicy("float32")
    before = dict(shared)
    with cast_backbone([model.get_layer("first")], "mixed_float16"):
        assert model.get_layer("first").compute_dtype == "float16"
    assert model.get_layer("first").dtype_policy is shared
    assert dict(shared) == before


def test_labels_of_nearly_the_same_score_may_change_places():
    own = np.array([[0.9, 0.500, 0.499], [0.9, 0.5, 0.3]], np.float32)
    other = np.array([[0.9, 0.499, 0.500], [0.9, 0.3, 0.5]], np.float32)
    found = deviation(own, other, 2, near_tie=0.02)
    assert (found.changed_sets, found.near_ties) == (0.5, 0.5)
    assert found.largest == pytest.approx(0.2)


def half_precision_model():
    """A model that was trained in mixed precision, and carries its policies in its file."""
    features = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(8, dtype="mixed_float16")(features)
    return keras.Model(features, keras.layers.Dense(LABELS, activation="sigmoid", dtype="float32")(hidden))


def float32_model():
    features = keras.Input((4,), name="features")
    return keras.Model(features, head(features))


@pytest.mark.parametrize(
    ("build", "precision"),
    [
        (half_precision_model, "mixed_float16"),
        (lambda: quantized(convolution=True), "int8"),
        (float32_model, "float32"),
    ],
    ids=["mixed_float16", "int8", "float32"],
)
def test_the_record_said_float32_of_whatever_the_model_computes_in(build, precision, tmp_path):
    version = export(Classifier(build(), "toy"), tmp_path, k=2)
    assert record(version)["precision"] == precision
    assert version.deviation is None


@pytest.mark.parametrize(
    ("build", "precision"),
    [(half_precision_model, "mixed_float16"), (float32_model, "float32")],
    ids=["mixed_float16", "float32"],
)
def test_what_a_saved_model_computes_in_is_found_in_its_graph(build, precision, tmp_path):
    build().export(tmp_path / "toy", verbose=False)
    classifier = load_classifier(str(tmp_path / "toy"), SourceOptions(allow_unsafe=True))
    assert record(export(classifier, tmp_path / "out", k=2))["precision"] == precision
    said = refusal(classifier, tmp_path / "more", ExportError, precision="mixed_bfloat16")
    assert "was loaded from a SavedModel" in said


def test_a_model_of_half_precision_is_judged_by_the_tolerance_of_half_precision(tmp_path, monkeypatch):
    judged = []
    monkeypatch.setattr(
        "exporter.validation.answers.judge_dense", lambda a, b, tolerance, k: judged.append(tolerance) or _fine()
    )
    export(Classifier(half_precision_model(), "toy"), tmp_path, k=2)
    assert set(judged) == {PRECISIONS["mixed_float16"].dense}


def _fine():
    from signatures.contract.judge import Verdict

    return Verdict()


def test_half_precision_can_be_taken_back_to_float32(tmp_path):
    version = export(
        Classifier(half_precision_model(), "toy"), tmp_path, k=2, options=ExportOptions(precision="float32")
    )
    assert record(version)["precision"] == "float32"
    assert 0 < version.deviation.largest < 0.01


def test_lookups_and_layers_of_other_policies_compute_in_what_they_did():
    word = keras.Input((1,), name="word", dtype="string")
    known = keras.layers.StringLookup(vocabulary=["word1", "word2"])(word)
    model = keras.Model(word, head(keras.layers.Flatten()(keras.layers.Embedding(4, 3)(known))))
    assert computes_in(model) == "float32"
    cast = layers_to_cast(*examine(Classifier(model, "toy")), "mixed_float16")
    assert [type(layer).__name__ for layer in cast] == ["Embedding", "Flatten"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"max_deviation": 0.1}, "pass a precision with it"),
        ({"max_changed_sets": 0.1}, "pass a precision with it"),
        ({"max_deviation": -1, "precision": "mixed_float16"}, "use a number from 0 to 1"),
    ],
)
def test_bounds_that_bound_nothing_are_refused(given, words):
    with pytest.raises(ExportError, match=words):
        ExportOptions(**given)
