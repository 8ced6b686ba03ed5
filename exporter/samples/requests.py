"""Requests to each signature, made from samples, for the validation, the quality gate and the warm-up."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.samples.samples import Samples
from signatures.contract import names

K = int | npt.NDArray[np.int32] | None
MinScore = float | npt.NDArray[np.float32] | None

# Signatures that take neither k nor min_score.
_WITHOUT_LIMITS = (names.FIXED_K, names.DENSE, names.ENCODED_IMAGES_DENSE)


def request(key: str, samples: Samples, k: K = None, min_score: MinScore = None) -> dict[str, npt.NDArray[Any]]:
    """Return a request with samples for one of our signatures.

    Args:
        key: the signature.
        samples: the examples.
        k: a scalar or an array to send as k. None leaves it out, as for signatures without k.
        min_score: the same for min_score.
    """
    samples, limits = samples.asked_of(key), _limits(k, min_score)
    if key == names.CLASSIFY:
        return {names.EXAMPLES: _examples(samples, limits)}
    if key in names.IMAGE_SIGNATURES:
        inputs: Mapping[str, npt.NDArray[Any]] = {names.ENCODED_IMAGES: np.array(samples.images, object)}
    else:
        inputs = samples.inputs
    return dict(inputs) if key in _WITHOUT_LIMITS else {**inputs, **limits}


def own_request(
    input_names: Collection[str], samples: Samples, k: K = None, min_score: MinScore = None
) -> dict[str, npt.NDArray[Any]]:
    """Return a request with samples for a user's own signature.

    Args:
        input_names: the names of its inputs. Those that the samples do not hold are left out.
        samples: the examples.
        k: a scalar or an array to send as k. None leaves it out, as for signatures without k.
        min_score: the same for min_score.
    """
    if names.ENCODED_IMAGES in input_names and names.ENCODED_IMAGES not in samples.inputs:
        samples = samples.asked_of(names.ENCODED_IMAGES)
        known = {**samples.inputs, names.ENCODED_IMAGES: np.array(samples.images, object)}
    else:
        known = dict(samples.inputs)
    known |= _limits(k, min_score)
    return {name: known[name] for name in input_names if name in known}


def _limits(k: K, min_score: MinScore) -> dict[str, npt.NDArray[Any]]:
    given = {names.K: (k, np.int32), names.MIN_SCORE: (min_score, np.float32)}
    return {name: np.asarray(value, kind) for name, (value, kind) in given.items() if value is not None}


def _examples(samples: Samples, limits: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.object_]:
    """Return serialized tf.Examples, [S]."""
    each = {name: np.broadcast_to(value, len(samples)) for name, value in limits.items()}
    serialized = np.empty(len(samples), object)
    for row in range(len(samples)):
        features = (
            {names.IMAGE_FEATURE: _feature(np.array([samples.images[row]], object))}
            if samples.images
            else {name: _feature(array[row : row + 1].ravel()) for name, array in samples.inputs.items()}
        )
        features |= {name: _feature(values[row : row + 1]) for name, values in each.items()}
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
