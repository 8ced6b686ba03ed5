"""From pixels to the values that a backbone was trained on."""

import tensorflow as tf

from signatures.contract import names

# The mean and the standard deviation of ImageNet's pixels: blue, green, red in 0..255 for "caffe"; red, green, blue in
# 0..1 for "torch".
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_TORCH_MEAN = (0.485, 0.456, 0.406)
_TORCH_DEVIATION = (0.229, 0.224, 0.225)


def preprocess(pixels: tf.Tensor, mode: str) -> tf.Tensor:
    """Scale pixels to the values that the model was trained on.

    "none" leaves them in 0..255, and "unit" scales them to 0..1. The others do what Keras's `preprocess_input` does
    in the mode of that name: "tf" scales to -1..1; "caffe" turns RGB into BGR and subtracts ImageNet's mean; "torch"
    scales to 0..1, subtracts ImageNet's mean and divides by its standard deviation.

    Args:
        pixels: float32 [B, H, W, C] in 0..255, RGB if C is 3.
        mode: one of `names.PREPROCESSINGS`.

    Returns:
        float32 [B, H, W, C].

    Raises:
        ValueError: when traced, for another mode, and for "caffe" or "torch" if C is not 3.

    Example:
        >>> preprocess(tf.fill([1, 1, 1, 1], 255.0), "tf").numpy().tolist()
        [[[[1.0]]]]

    Source:
        https://keras.io/api/applications/, `keras.applications.imagenet_utils.preprocess_input`.
    """
    if mode not in names.PREPROCESSINGS:
        raise ValueError(f"preprocessing {mode!r} is unknown; choose one of {', '.join(names.PREPROCESSINGS)}")
    if mode in ("caffe", "torch") and pixels.shape[-1] != 3:
        raise ValueError(
            f"preprocessing {mode!r} needs 3 channels, the model takes {pixels.shape[-1]}; choose none, unit or tf"
        )
    if mode == "unit":
        return pixels / 255.0
    if mode == "tf":
        return pixels / 127.5 - 1.0
    if mode == "caffe":
        return tf.reverse(pixels, axis=[-1]) - _CAFFE_MEAN
    if mode == "torch":
        return (pixels / 255.0 - _TORCH_MEAN) / _TORCH_DEVIATION
    return pixels
