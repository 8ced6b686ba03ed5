import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from exporter.errors import ExportError
from exporter.presets.mobilenetv2 import build_mobilenetv2
from exporter.presets.resnet18 import build_resnet18
from signatures.layer import SparsifyTopK

BUILDERS = {"mobilenetv2": (build_mobilenetv2, 64), "resnet18": (build_resnet18, 65)}


def awaken(model, images):
    """Make an untrained classifier answer with scores worth comparing, where it would say 0.5 to everything.

    Its batch normalization takes over the statistics of `images`, in one training pass, and its last layer's logits
    are spread to a standard deviation of 2 around 0.
    """
    normalizations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalizations]
    for layer in normalizations:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(normalizations, momenta, strict=True):
        layer.momentum = momentum
    head = model.layers[-1]
    features = keras.Model(model.input, head.input)(images, training=False)
    logits = tf.matmul(features, head.kernel)
    scale = 2 / tf.math.reduce_std(logits)
    head.kernel.assign(head.kernel * scale)
    head.bias.assign(-scale * tf.reduce_mean(logits, axis=0))


def images(side, count=6):
    return np.random.default_rng(0).uniform(-1, 1, (count, side, side, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=BUILDERS)
def awake(request):
    """An untrained model of each kind that answers differently to each of some pictures, and these."""
    keras.utils.set_random_seed(0)
    build, side = BUILDERS[request.param]
    model = build(image_size=side)
    awaken(model, images(side))
    return model, images(side)


@pytest.mark.parametrize("name", BUILDERS)
def test_a_picture_becomes_eight_sigmoid_probabilities(name):
    build, side = BUILDERS[name]
    model = build(image_size=side)
    assert [tensor.name for tensor in model.inputs] == ["images"]
    assert model.input_shape == (None, side, side, 3)
    assert model.output_shape == (None, 8)
    assert model.layers[-1].activation is keras.activations.sigmoid
    assert build(image_size=side, labels=3).output_shape == (None, 3)


def test_mobilenetv2_is_the_published_one_with_global_average_pooling():
    model = build_mobilenetv2()
    assert model.input_shape == (None, 224, 224, 3)
    # 2,257,984 is the size of keras.applications.MobileNetV2 without its top.
    assert model.count_params() == 2_257_984 + (1280 + 1) * 8
    assert isinstance(model.layers[-2], keras.layers.GlobalAveragePooling2D)


def test_resnet18_is_the_published_one_with_the_questions_head():
    model = build_resnet18()
    *backbone, pooling, flatten, hidden, dropout, probabilities = model.layers
    assert backbone[-1].output.shape == (None, 7, 7, 512)
    # ResNet-18's 11,689,512 for ImageNet, without its classifier of 1000 labels.
    trained = sum(int(np.prod(variable.shape)) for layer in backbone for variable in layer.trainable_variables)
    assert trained == 11_689_512 - (512 + 1) * 1000
    assert sum(isinstance(layer, keras.layers.Conv2D) and layer.kernel_size > (1, 1) for layer in backbone) == 17
    assert sum(isinstance(layer, keras.layers.Conv2D) and layer.kernel_size == (1, 1) for layer in backbone) == 3
    assert isinstance(pooling, keras.layers.AveragePooling2D)
    assert pooling.pool_size == (3, 3)
    assert flatten.output.shape == (None, 2 * 2 * 512)
    assert (hidden.units, hidden.activation) == (256, keras.activations.relu)
    assert dropout.rate == 0.5
    assert probabilities.units == 8


@pytest.mark.parametrize("k", [2, 4, 6])
def test_of_an_awakened_models_scores_exactly_the_largest_are_kept(awake, k):
    model, pictures = awake
    dense = model(pictures).numpy()
    assert dense.std() > 0.1
    assert all(len(set(row)) == 8 for row in dense)
    assert len(np.unique(dense.argsort(axis=1), axis=0)) > 1
    sparse = keras.Sequential([model, SparsifyTopK(n_to_zero=8 - k)])(pictures).numpy()
    np.testing.assert_array_equal(sparse, np.where(dense >= np.sort(dense)[:, [8 - k]], dense, 0))


@pytest.mark.parametrize("awake", ["resnet18"], indirect=True)
def test_saved_weights_come_back_by_their_file(awake, tmp_path):
    model, pictures = awake
    model.save_weights(tmp_path / "trained.weights.h5")
    again = build_resnet18(weights=str(tmp_path / "trained.weights.h5"), image_size=65)
    np.testing.assert_array_equal(again(pictures), model(pictures))


def test_weights_that_do_not_fit_are_refused_in_one_sentence(tmp_path):
    build_mobilenetv2(labels=3, image_size=32).save_weights(tmp_path / "three.weights.h5")
    (tmp_path / "broken.weights.h5").write_bytes(b"no weights")
    for file in ("three.weights.h5", "broken.weights.h5"):
        with pytest.raises(ExportError, match=rf"^\S*{file} does not hold the weights of mobilenetv2: [^\n]+$"):
            build_mobilenetv2(weights=str(tmp_path / file), image_size=32)
    with pytest.raises(ExportError, match=r"^There is no weights file absent\.weights\.h5; [^\n]+\.$"):
        build_mobilenetv2(weights="absent.weights.h5", image_size=32)


@pytest.mark.parametrize(("build", "side"), [(build_mobilenetv2, 31), (build_resnet18, 64)])
def test_a_picture_too_small_is_refused_in_one_sentence(build, side):
    with pytest.raises(ExportError, match=rf"^An image size of {side} [^\n]+: use {side + 1} or more\.$"):
        build(image_size=side)


def test_resnet18_has_no_imagenet_weights():
    with pytest.raises(ExportError, match="no ImageNet weights for ResNet-18"):
        build_resnet18(weights="imagenet")


def test_imagenet_weights_without_a_network_are_refused_in_one_sentence(tmp_path):
    ask = (
        "from exporter.errors import ExportError\n"
        "from exporter.presets.mobilenetv2 import build_mobilenetv2\n"
        "try:\n"
        "    build_mobilenetv2(weights='imagenet')\n"
        "except ExportError as error:\n"
        "    print(error)\n"
    )
    # A Keras that has fetched nothing yet, behind a proxy that takes no connection.
    alone = {"KERAS_HOME": str(tmp_path), "HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    finished = subprocess.run(
        [sys.executable, "-c", ask],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (sentence,) = finished.stdout.splitlines()
    assert sentence.startswith("MobileNetV2's ImageNet weights need the network, which failed (")
    assert sentence.endswith("connect this machine, or use the weights none or a file.")
