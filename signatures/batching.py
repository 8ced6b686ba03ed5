"""Batching inside the graph: requests share a run of the backbone, and nothing else.

The server's own batching merges requests before any guard of ours has run, so that one bad request fails its
batch-mates. Here each request is checked and decoded by itself, then only the backbone runs batched, and the head
runs by itself again, with each request's own k.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import tensorflow as tf

from signatures import names


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How requests share one run of the backbone. None of the defaults was measured on a GPU.

    Attributes:
        max_request_size: examples in one request, at most; a larger one is refused.
        max_batch_size: examples in one run of the backbone, at most; a larger request is split.
        batch_timeout_micros: how long a request waits for others, in microseconds.
        allowed_batch_sizes: the sizes that a batch is padded to, rising, the last of them `max_batch_size`.
        num_batch_threads: batches that run at once.
        max_enqueued_batches: batches that wait, at most; past that a request gets UNAVAILABLE.

    Raises:
        ValueError: when the sizes contradict each other.
    """

    max_request_size: int = 1024
    max_batch_size: int = 32
    batch_timeout_micros: int = 2000
    allowed_batch_sizes: tuple[int, ...] = ()
    num_batch_threads: int = 2
    max_enqueued_batches: int = 100

    def __post_init__(self) -> None:
        for name in ("max_request_size", "max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, and must be at least 1.")
        if self.batch_timeout_micros < 0:
            raise ValueError(f"batch_timeout_micros is {self.batch_timeout_micros}, and must not be negative.")
        if self.max_request_size < self.max_batch_size:
            raise ValueError(
                f"max_request_size is {self.max_request_size}; use at least max_batch_size, {self.max_batch_size}."
            )
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes are {list(sizes)}; let them rise to max_batch_size, {self.max_batch_size}."
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the batches that run: those allowed, by default the powers of two up to the largest."""
        powers = [1 << n for n in range(self.max_batch_size.bit_length()) if 1 << n < self.max_batch_size]
        return self.allowed_batch_sizes or (*powers, self.max_batch_size)


def batched(
    backbone: Callable[..., tf.Tensor], inputs: Sequence[tf.TensorSpec], batching: Batching
) -> Callable[..., tf.Tensor]:
    """Give a function that computes what `backbone` does, in batches shared by all requests and signatures.

    The raw op rather than `tf.nondifferentiable_batch_function`: only it can name the queue, and without one name each
    signature would wait in a queue of its own. A server keeps the queues of two versions apart.

    Args:
        backbone: computes [B, N] of tensors [B, ...].
        inputs: what it takes.
        batching: sizes and times.
    """
    traced = tf.function(backbone, input_signature=list(inputs), autograph=False).get_concrete_function()

    def call(*tensors: tf.Tensor) -> tf.Tensor:
        # What surrounds the backbone is pinned to the CPU (see `signatures.compose`); the op itself must not be. On a
        # GPU it hands the backbone's inputs and outputs over in host memory, and runs the backbone where it is.
        with tf.device(None):
            (output,) = tf.raw_ops.BatchFunction(
                in_tensors=list(tensors),
                captured_tensors=traced.captured_inputs,
                f=traced,
                Tout=[output.dtype for output in traced.outputs],
                # For the op, "max_batch_size" bounds a request, and the last allowed size a run.
                max_batch_size=batching.max_request_size,
                allowed_batch_sizes=list(batching.sizes),
                enable_large_batch_splitting=True,
                batch_timeout_micros=batching.batch_timeout_micros,
                num_batch_threads=batching.num_batch_threads,
                max_enqueued_batches=batching.max_enqueued_batches,
                shared_name=names.BACKBONE,
            )
        return tf.ensure_shape(output, traced.outputs[0].shape)

    return call
