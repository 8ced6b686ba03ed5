"""Requests to each signature, made of samples, for the validation, the quality gate and the warm-up."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.samples.samples import Samples
from signatures.contract import names

K = int | npt.NDArray[np.int32] | None


def request(key: str, samples: Samples, k: K = None) -> dict[str, npt.NDArray[Any]]:
    """Return the request that asks a signature of ours about samples.

    Args:
        key: the signature.
        samples: the examples.
        k: a scalar or an array to send as k. None leaves it out, as for signatures without k.
    """
    samples = samples.asked_of(key)
    if key == names.CLASSIFY:
        return {names.EXAMPLES: _examples(samples, k)}
    if key in (names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K):
        inputs: Mapping[str, npt.NDArray[Any]] = {names.ENCODED_IMAGES: np.array(samples.images, object)}
    else:
        inputs = samples.inputs
    if k is None or key == names.FIXED_K:
        return dict(inputs)
    return {**inputs, names.K: np.asarray(k, np.int32)}


def own_request(taken: Collection[str], samples: Samples, k: K = None) -> dict[str, npt.NDArray[Any]]:
    """Return the request that asks a user's own signature about samples.

    Args:
        taken: the names of its inputs. Those that the samples do not hold are left out.
        samples: the examples.
        k: a scalar or an array to send as k. None leaves it out, as for signatures without k.
    """
    if names.ENCODED_IMAGES in taken and names.ENCODED_IMAGES not in samples.inputs:
        samples = samples.asked_of(names.ENCODED_IMAGES)
        known = {**samples.inputs, names.ENCODED_IMAGES: np.array(samples.images, object)}
    else:
        known = dict(samples.inputs)
    if k is not None:
        known[names.K] = np.asarray(k, np.int32)
    return {name: known[name] for name in taken if name in known}


def _examples(samples: Samples, k: K) -> npt.NDArray[np.object_]:
    """Return serialized tf.Examples, [S]."""
    each = None if k is None else np.broadcast_to(k, len(samples))
    serialized = np.empty(len(samples), object)
    for row in range(len(samples)):
        features = (
            {names.IMAGE_FEATURE: _feature(np.array([samples.images[row]], object))}
            if samples.images
            else {name: _feature(array[row : row + 1].ravel()) for name, array in samples.inputs.items()}
        )
        if each is not None:
            features[names.K] = _feature(each[row : row + 1])
        serialized[row] = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(
            deterministic=True
        )
    return serialized


def _feature(values: npt.NDArray[Any]) -> tf.train.Feature:
    if values.dtype == object:
        return tf.train.Feature(
            bytes_list=tf.train.BytesList(value=[v if isinstance(v, bytes) else str(v).encode() for v in values])
        )
    if values.dtype.kind in "iub":
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values.astype(np.int64)))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values.astype(np.float32)))
