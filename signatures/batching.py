"""Batching inside the graph: requests share a run of the backbone, and nothing else.

The server's own batching merges requests before any of our guards has run, so one bad request fails all requests in
its batch. Here each request is checked and decoded separately. Only the backbone runs batched. The head then runs
separately again, with each request's own k.

Requests can share a run only if they agree in every dimension but the first; otherwise the op fails all of them. So
inputs of variable length are first padded to one of a few lengths, and each length has its own queue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import tensorflow as tf

from signatures.contract import names


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Settings for how requests share one run of the backbone. None of the defaults was measured on a GPU.

    Attributes:
        max_request_size: the most examples that one request may hold; a larger request is refused.
        max_batch_size: the most examples in one run of the backbone; a larger request is split.
        batch_timeout_micros: how long a request waits for others, in microseconds.
        allowed_batch_sizes: the sizes that a batch is padded to, in rising order; the last is `max_batch_size`.
        num_batch_threads: how many batches run at once.
        max_enqueued_batches: how many batches may wait; beyond that, a request gets UNAVAILABLE.
        pad_to: for a model with inputs of variable length, the lengths to pad them to with zeros or empty strings, in
            rising order. A request longer than the last one is refused.

    Raises:
        ValueError: if the sizes contradict each other.

    Example:
        >>> Batching(max_batch_size=12).sizes
        (1, 2, 4, 8, 12)
    """

    max_request_size: int = 1024
    max_batch_size: int = 32
    batch_timeout_micros: int = 2000
    allowed_batch_sizes: tuple[int, ...] = ()
    num_batch_threads: int = 2
    max_enqueued_batches: int = 100
    pad_to: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_request_size", "max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but it must be at least 1.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_micros}, but it must not be negative.")
        if self.max_request_size < self.max_batch_size:
            raise ValueError(
                f"max_request_size is {self.max_request_size}; use at least max_batch_size, {self.max_batch_size}."
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes are {list(sizes)}; let them rise to max_batch_size, {self.max_batch_size}."
            )
        if self.pad_to and (list(self.pad_to) != sorted(set(self.pad_to)) or self.pad_to[0] < 1):
            raise ValueError(f"pad_to is {list(self.pad_to)}; give lengths from 1 on that rise, as in 16,32,64.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the batches that run: the allowed ones, by default powers of two up to `max_batch_size`."""
        powers = [1 << n for n in range(self.max_batch_size.bit_length()) if 1 << n < self.max_batch_size]
        return self.allowed_batch_sizes or (*powers, self.max_batch_size)


def variable_dimensions(spec: tf.TensorSpec) -> list[int]:
    """Return the dimensions after the first that have no declared size.

    Example:
        >>> variable_dimensions(tf.TensorSpec([None, None, 3]))
        [1]
    """
    return [dimension for dimension, size in enumerate(spec.shape) if dimension and size is None]


def batched(
    backbone: Callable[..., list[tf.Tensor]],
    inputs: Mapping[str, tf.TensorSpec],
    batching: Batching,
    name: str = names.BACKBONE,
    also: Sequence[str] = (),
) -> Callable[..., list[tf.Tensor]]:
    """Return a function that computes what `backbone` does, in batches shared by all requests and signatures.

    This uses the raw op instead of `tf.nondifferentiable_batch_function`, because only the raw op can name the queue.
    Without a shared name, each signature would wait in its own queue. A server keeps the queues of two versions apart.

    Args:
        backbone: computes a list of tensors from tensors [B, ...]: [B, N], followed by one [B, ...] for each in `also`.
        inputs: its inputs, in order.
        batching: sizes and timeouts.
        name: the op's name, which tells models apart in a server's metrics.
        also: the names of the outputs after the first.

    Returns:
        A function that takes the same tensors and returns the same list.

    Raises:
        ValueError: if an input has a variable length and there is no `pad_to`, or the other way around, or if padding
            could change the shape of an output.
    """
    specs = list(inputs.values())
    variable = [key for key, spec in inputs.items() if variable_dimensions(spec)]
    if variable and not batching.pad_to:
        raise ValueError(
            f"The input {variable[0]} has the shape {inputs[variable[0]].shape}, and only requests of one shape can "
            "share a run of the model: pass --pad-to 16,32,64 with the lengths to pad requests to, or --batching none."
        )
    if batching.pad_to and not variable:
        raise ValueError("No input of the model has a variable length, so there is nothing to pad: leave out --pad-to.")
    traced = tf.function(backbone, input_signature=specs, autograph=False).get_concrete_function()
    if batching.pad_to:
        _check_padded(dict(zip(also, traced.outputs[1:], strict=True)))

    def run(tensors: Sequence[tf.Tensor], queue: str) -> list[tf.Tensor]:
        # Everything around the backbone is pinned to the CPU (see `signatures.compose`), but the op must not be. On a
        # GPU it passes the backbone's inputs and outputs through host memory and runs the backbone where it is.
        with tf.device(None):
            outputs = tf.raw_ops.BatchFunction(
                in_tensors=list(tensors),
                captured_tensors=traced.captured_inputs,
                f=traced,
                Tout=[output.dtype for output in traced.outputs],
                # For the op, "max_batch_size" limits a request, and the last allowed size limits a run.
                max_batch_size=batching.max_request_size,
                allowed_batch_sizes=list(batching.sizes),
                enable_large_batch_splitting=True,
                batch_timeout_micros=batching.batch_timeout_micros,
                num_batch_threads=batching.num_batch_threads,
                max_enqueued_batches=batching.max_enqueued_batches,
                shared_name=queue,
                name=queue,
            )
        return [tf.ensure_shape(output, known.shape) for output, known in zip(outputs, traced.outputs, strict=True)]

    def run_padded(*tensors: tf.Tensor) -> list[tf.Tensor]:
        def branch(length: int) -> Callable[[], list[tf.Tensor]]:
            return lambda: run(list(map(partial(_pad, length=length), tensors, specs)), f"{name}_{length}")

        place = _place_of_length(tensors, specs, batching.pad_to)
        outputs: list[tf.Tensor] = tf.switch_case(place, [branch(length) for length in batching.pad_to])
        return outputs

    return run_padded if variable else lambda *tensors: run(tensors, name)


def _check_padded(also: Mapping[str, tf.Tensor]) -> None:
    for name, output in also.items():
        if not output.shape[1:].is_fully_defined():
            raise ValueError(
                f"The output {name} has the shape {output.shape}, and would be as long as the inputs are padded: leave "
                f"out --also-output {name}, or pass --batching none."
            )


def _place_of_length(tensors: Sequence[tf.Tensor], specs: Sequence[tf.TensorSpec], pad_to: Sequence[int]) -> tf.Tensor:
    """Return the index of the first length that fits a request's longest input; refuse a longer request."""
    sizes = [
        tf.shape(tensor)[dimension]
        for tensor, spec in zip(tensors, specs, strict=True)
        for dimension in variable_dimensions(spec)
    ]
    longest = tf.reduce_max(tf.stack(sizes))
    fits = tf.debugging.Assert(
        longest <= pad_to[-1], [f"an input may have a length of {pad_to[-1]} at most; received:", longest]
    )
    with tf.control_dependencies([fits]):
        return tf.searchsorted(tf.constant(pad_to, tf.int32), [longest])[0]


def _pad(tensor: tf.Tensor, spec: tf.TensorSpec, length: int) -> tf.Tensor:
    """Pad each dimension without a declared size to a length, with zeros, False or empty strings."""
    size, variable = tf.shape(tensor), variable_dimensions(spec)
    behind = [length - size[dimension] if dimension in variable else 0 for dimension in range(len(spec.shape))]
    return tf.pad(tensor, [[0, missing] for missing in behind])
