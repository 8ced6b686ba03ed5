import keras
import numpy as np
import pytest
import tensorflow as tf

from signatures.contract import names
from signatures.preprocessing import preprocess

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3)).astype(np.float32)


@pytest.mark.parametrize("mode", ["tf", "caffe", "torch"])
def test_equals_what_keras_does_in_the_mode_of_that_name(mode: str) -> None:
    expected = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), data_format="channels_last", mode=mode)
    np.testing.assert_array_equal(preprocess(tf.constant(PIXELS), mode), expected)


def test_none_leaves_the_pixels_and_unit_divides_by_255() -> None:
    np.testing.assert_array_equal(preprocess(tf.constant(PIXELS), "none"), PIXELS)
    np.testing.assert_array_equal(preprocess(tf.constant(PIXELS), "unit"), PIXELS / np.float32(255))


@pytest.mark.parametrize("mode", names.PREPROCESSINGS)
def test_keeps_shape_and_dtype_in_a_graph(mode: str) -> None:
    traced = tf.function(lambda pixels: preprocess(pixels, mode), autograph=False)
    pixels = traced.get_concrete_function(tf.TensorSpec([None, 5, 7, 3])).outputs[0]
    assert pixels.shape.as_list() == [None, 5, 7, 3]
    assert pixels.dtype == tf.float32


@pytest.mark.parametrize("mode", ["none", "unit", "tf"])
def test_gray_pictures_have_the_modes_that_need_no_colors(mode: str) -> None:
    assert preprocess(tf.zeros([1, 5, 7, 1]), mode).shape == [1, 5, 7, 1]


@pytest.mark.parametrize("mode", ["caffe", "torch"])
def test_a_mode_of_three_channels_is_refused_for_others(mode: str) -> None:
    with pytest.raises(ValueError, match=f"{mode}.*needs 3 channels, the model takes 1; choose"):
        preprocess(tf.zeros([1, 5, 7, 1]), mode)


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'imagenet' is unknown; choose one of none, unit, tf, caffe, torch"):
        preprocess(tf.zeros([1, 5, 7, 3]), "imagenet")
