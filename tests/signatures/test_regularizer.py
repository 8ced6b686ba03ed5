import keras
import numpy as np
import pytest
import tensorflow as tf

from signatures.regularizer import TopKMassRegularizer

ROWS = np.array([[0.7, 0.1, 0.9, 0.3], [0.2, 0.2, 0.2, 0.2]], np.float32)


@pytest.mark.parametrize(("k", "mass"), [(0, 2.8), (1, 1.1 + 0.6), (2, 0.4 + 0.4), (4, 0), (9, 0)])
def test_the_mass_outside_the_largest_of_each_row_is_penalized(k, mass):
    assert TopKMassRegularizer(k=k, weight=0.5)(ROWS).numpy() == pytest.approx(0.5 * mass)


def test_only_what_is_outside_has_a_gradient():
    scores = tf.Variable(ROWS)
    with tf.GradientTape() as tape:
        penalty = TopKMassRegularizer(k=2, weight=0.5)(scores)
    np.testing.assert_array_equal(tape.gradient(penalty, scores), [[0, 0.5, 0, 0.5], [0, 0, 0.5, 0.5]])


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_a_models_loss_gets_the_mean_mass_of_a_row_whatever_the_batch_size(batch_size):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(4, "sigmoid", activity_regularizer=TopKMassRegularizer(k=2, weight=0.5))]
    )
    # Of equal weights each score is sigmoid(0) = 0.5, so that two of the four are 1 outside.
    model.layers[0].set_weights([np.zeros((4, 4)), np.zeros(4)])
    model(np.ones((batch_size, 4), np.float32))
    assert float(model.losses[0]) == pytest.approx(0.5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_training_with_it_moves_mass_into_the_largest(jit_compile):
    keras.utils.set_random_seed(0)
    inputs = np.random.default_rng(0).normal(size=(64, 6)).astype(np.float32)
    # Targets that alone would hold every score at 0.5, which is a mass of 3 outside.
    targets = np.full((64, 8), 0.5, np.float32)
    layer = keras.layers.Dense(8, "sigmoid", activity_regularizer=TopKMassRegularizer(k=2, weight=1))
    model = keras.Sequential([keras.Input((6,)), layer])

    def mass_outside():
        return float(TopKMassRegularizer(k=2, weight=1)(model(inputs))) / len(inputs)

    before = mass_outside()
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy", jit_compile=jit_compile)
    model.fit(inputs, targets, epochs=10, batch_size=32, verbose=0)
    assert mass_outside() < 0.5 * before


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_large_batch_of_half_floats_does_not_overflow(dtype):
    scores = tf.ones([1024, 128], dtype)
    assert TopKMassRegularizer(k=2, weight=1)(scores).numpy() == 1024 * 126


def test_a_saved_model_loads_in_safe_mode_with_its_regularizer(tmp_path):
    regularizer = TopKMassRegularizer(k=2, weight=0.25)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "sigmoid", activity_regularizer=regularizer)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    assert loaded.layers[0].activity_regularizer.get_config() == {"k": 2, "weight": 0.25}


@pytest.mark.parametrize(
    ("arguments", "error", "received"),
    [
        ({"k": -1, "weight": 1}, ValueError, "k = -1"),
        ({"k": 1.5, "weight": 1}, TypeError, "k = 1.5"),
        ({"k": 2, "weight": -0.1}, ValueError, "weight = -0.1"),
        ({"k": 2, "weight": float("nan")}, ValueError, "weight = nan"),
        ({"k": 2, "weight": float("inf")}, ValueError, "weight = inf"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_in_one_sentence(arguments, error, received):
    with pytest.raises(error, match=rf"^TopKMassRegularizer [^\n]*{received}[^\n]*\.$"):
        TopKMassRegularizer(**arguments)
