"""Turn samples into arrays: the inputs of one request, and the true labels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import InputError
from client.rpc.inputs import limit_per_example
from client.rpc.metadata import Signature, TensorInfo
from client.samples.golden import Sample
from client.samples.rows import own_inputs
from signatures.contract import names


def inputs_of(samples: Sequence[Sample], signature: Signature) -> dict[str, NDArray[Any]]:
    """Return the inputs of a request that holds the samples, in order.

    A signature of image files receives those. `k` and `min_score` are sent if a sample has them and the signature takes
    them; the other samples are then sent with its defaults.

    Args:
        samples: at least one; all of the same shapes.
        signature: the signature to call.

    Raises:
        InputError: if the samples cannot be sent together, or not to this signature.

    Example:
        >>> client.predict(inputs_of(samples[:8], client.metadata().signature("top_k")), signature="top_k")
    """
    own = own_inputs(signature)
    if set(own) == {names.ENCODED_IMAGES} and names.ENCODED_IMAGES not in samples[0].inputs:
        inputs = {names.ENCODED_IMAGES: _files(samples, signature)}
    else:
        inputs = _stacked(samples, signature)
    return inputs | limits_of(samples, signature)


def limits_of(samples: Sequence[Sample], signature: Signature) -> dict[str, NDArray[Any]]:
    """Return the k and the min_score of each sample, by name, if any of them has one and the signature takes it.

    A sample that has none gets the signature's default.

    Raises:
        InputError: if only some samples have one, and there is no default.
    """
    wanted: dict[str, list[int | None] | list[float | None]] = {
        names.K: [sample.k for sample in samples],
        names.MIN_SCORE: [sample.min_score for sample in samples],
    }
    return {
        name: _limit_array(name, wanted[name], info)
        for name, info in signature.limits.items()
        if any(value is not None for value in wanted[name])
    }


def truth_of(samples: Sequence[Sample], labels: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which labels are true for which samples.

    Args:
        samples: S samples.
        labels: the model's N labels, by index.

    Returns:
        The truth, [S, N], and for which samples it is known, [S].

    Raises:
        InputError: if the model does not have one of the labels.

    Example:
        >>> truth_of([Sample({}, truth=("cat",)), Sample({})], ["dog", "cat"])[0].tolist()
        [[False, True], [False, False]]
    """
    truth = np.zeros((len(samples), len(labels)), bool)
    index = {label: number for number, label in reversed(list(enumerate(labels)))}
    for row, sample in enumerate(samples):
        for label in sample.truth or ():
            number = index.get(label) if isinstance(label, str) else label
            if number is None or not 0 <= number < len(labels):
                raise InputError(f"{sample.source} has the label {label!r}, but the model has {_some(labels)}")
            truth[row, number] = True
    return truth, np.array([sample.truth is not None for sample in samples], bool)


def _files(samples: Sequence[Sample], signature: Signature) -> NDArray[Any]:
    for sample in samples:
        if sample.file is None:
            raise InputError(
                f"signature {signature.key} takes JPEG and PNG files, and {sample.source} is something else"
            )
    files = np.empty(len(samples), object)
    files[:] = [sample.file for sample in samples]
    return files


def _stacked(samples: Sequence[Sample], signature: Signature) -> dict[str, NDArray[Any]]:
    first = samples[0]
    for sample in samples:
        for name, array in first.inputs.items():
            if name not in sample.inputs or sample.inputs[name].shape != array.shape:
                raise InputError(
                    f"{first.source} and {sample.source} differ in the shape of input {name}: send them one by one"
                )
    if unlike := sorted(first.inputs.keys() ^ own_inputs(signature).keys()):
        raise InputError(
            f"signature {signature.key} does not take these samples: they differ in the input {unlike[0]!r}"
        )
    return {name: np.concatenate([sample.inputs[name] for sample in samples]) for name in first.inputs}


def _limit_array(name: str, values: Sequence[int | float | None], info: TensorInfo) -> NDArray[Any]:
    if None in values and info.default is None:
        raise InputError(
            f"some samples ask for a {name} and others do not, and the server has no default: send them separately"
        )
    default: Any = None if info.default is None else info.default.reshape(-1)[0].item()
    filled = [default if value is None else value for value in values]
    return limit_per_example(name, filled, len(filled))


def _some(labels: Sequence[str]) -> str:
    """Return the labels, or the first ten."""
    return ", ".join(labels) if len(labels) <= 10 else f"{', '.join(labels[:10])} and {len(labels) - 10} more"
