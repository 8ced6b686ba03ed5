"""Watch the outputs of the layers of a Keras model, functional, Sequential or subclassed, while it runs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

Arrays: TypeAlias = list[npt.NDArray[np.float32]]


def called_layers(model: Any, run: Callable[[], Any]) -> list[Any]:
    """Return the layers of a model that `run` calls, each once, in the order in which they last finished."""
    finished: dict[int, Any] = {}
    with _watched(model, lambda layer, _: finished.update({id(layer): finished.pop(id(layer), layer)})):
        run()
    return list(finished.values())


def is_leaf(layer: Any) -> bool:
    """Return whether a layer has no layers inside."""
    return not any(layer._flatten_layers(include_self=False))


def first_to_differ(model: Any, run: Callable[[], Any], change: AbstractContextManager[None], bound: float) -> str:
    """Name the first layer whose output differs, in two runs of a model, by more than a share of its largest value.

    Args:
        model: a Keras model.
        run: calls the model on one example.
        change: entered around the second run.
        bound: the share, 0 to 1.

    Returns:
        The layer and how much its output differs, or "" if no layer can be named: the model calls none, calls others in
        the second run, or differs only in what it computes outside of its layers.
    """
    before: list[tuple[Any, Arrays]] = []
    after: list[tuple[Any, Arrays]] = []
    with _watched(model, lambda layer, output: before.append((layer, _floats(output)))):
        run()
    with change, _watched(model, lambda layer, output: after.append((layer, _floats(output)))):
        run()
    for (layer, expected), (other, got) in zip(before, after, strict=False):
        if layer is not other or [array.shape for array in expected] != [array.shape for array in got]:
            return ""
        share = max((_difference(*pair) for pair in zip(expected, got, strict=True)), default=0.0)
        if share > bound:
            what = f"by {share:.2g} of its largest value" if np.isfinite(share) else "and is no longer finite"
            return f"{layer.name} ({type(layer).__name__}), whose output differs {what}"
    return ""


@contextmanager
def _watched(model: Any, on_output: Callable[[Any, Any], None]) -> Iterator[None]:
    """Call `on_output` with every layer of a model and its output when it is called. Keras has no hook for this."""
    layers = {id(layer) for layer in model._flatten_layers(include_self=False)}
    call = keras.layers.Layer.__call__

    def watched(layer: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(layer, *args, **kwargs)
        if id(layer) in layers:
            on_output(layer, output)
        return output

    keras.layers.Layer.__call__ = watched
    try:
        yield
    finally:
        keras.layers.Layer.__call__ = call


def _floats(output: Any) -> Arrays:
    # Inside a loop that TensorFlow traces, as in an LSTM, layers have no values yet; the layer around them will.
    if not tf.executing_eagerly():
        return []
    tensors = (tensor for tensor in keras.tree.flatten(output) if tf.is_tensor(tensor) and tensor.dtype.is_floating)
    return [tf.cast(tensor, tf.float32).numpy() for tensor in tensors if isinstance(tensor, tf.Tensor)]


def _difference(expected: npt.NDArray[np.float32], got: npt.NDArray[np.float32]) -> float:
    """Return the largest difference divided by the largest magnitude, over the finite expected values."""
    compared = np.isfinite(expected)
    if not compared.any():
        return 0.0
    if not np.isfinite(got[compared]).all():
        return float("inf")
    difference = np.abs(expected[compared] - got[compared]).max()
    return float(difference / max(np.abs(expected[compared]).max(), np.finfo(np.float32).tiny))
