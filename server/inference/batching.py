"""Server-side batching: requests of one signature that arrive close together run as one execution.

Follows BatchingSession: a queue for each signature, executions padded to an allowed size, and the same rejections.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import numpy as np

from server.caller import Caller
from server.config import BatchingParameters
from server.errors import ServingError, invalid_argument
from server.inference.scheduler import BatchScheduler, Feeds, Queue, Task
from server.tensors import type_name

Array = np.ndarray[Any, Any]
Run = Callable[[Feeds, Sequence[str], float | None], list[Array]]


class BatchingSession:
    """Runs one loaded version through a BatchScheduler, with a queue for each set of feeds and fetches."""

    def __init__(self, scheduler: BatchScheduler, run: Run) -> None:
        self._scheduler = scheduler
        self._run = run
        self._queues: dict[tuple[frozenset[str], frozenset[str]], Queue] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Feeds, fetches: Sequence[str], caller: Caller) -> list[Array]:
        """Return the fetched values for these feeds, computed together with other requests.

        Args:
            feeds: arrays with one leading dimension, the same for all.
            fetches: tensor names.
            caller: who waits. Its deadline counts once a batch is executed.

        Raises:
            ServingError: if the request cannot be batched, or its batch failed, perhaps due to another request in it.

        """
        rows = _rows(feeds)
        self._scheduler.metrics.input_batch_size.add(rows)
        parts = self._scheduler.submit(self._queue(feeds, fetches), Task(feeds, rows, caller.deadline))
        for part in parts:
            while not part.done.wait(None if part.size else 0.05):
                if not caller.is_waiting():
                    raise ServingError(
                        grpc.StatusCode.DEADLINE_EXCEEDED, "A batch of zero examples was never executed."
                    )
        for part in parts:
            if part.error is not None:
                raise ServingError(*part.error)
        return [np.concatenate([part.outputs[name] for part in parts]) for name in fetches]

    def close(self) -> None:
        """Leave the scheduler."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)

    def _queue(self, feeds: Feeds, fetches: Sequence[str]) -> Queue:
        key = (frozenset(feeds), frozenset(fetches))
        with self._lock:
            if key not in self._queues:
                ordered = tuple(sorted(key[1]))
                self._queues[key] = Queue(lambda tasks: self._execute(tasks, ordered))
                self._scheduler.add_queue(self._queues[key])
            return self._queues[key]

    def _execute(self, tasks: list[Task], fetches: tuple[str, ...]) -> None:
        parameters = self._scheduler.parameters
        deadline = _latest_deadline(tasks)
        sizes = [task.size for task in tasks]
        total = sum(sizes)
        padded = next((size for size in parameters.allowed_batch_sizes if size >= total), total)
        self._scheduler.metrics.padding_size.add(padded - total, str(padded))
        self._scheduler.metrics.processed_batch_size.add(padded)
        feeds = {
            name: _merge(name, [task.feeds[name] for task in tasks], padded - total, parameters)
            for name in tasks[0].feeds
        }
        outputs = self._run(feeds, fetches, deadline)
        ends = np.cumsum(sizes)[:-1]
        for name, output in zip(fetches, outputs, strict=True):
            if output.ndim == 0:
                raise ServingError(grpc.StatusCode.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if output.shape[0] != padded:
                raise ServingError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
            for task, rows in zip(tasks, np.split(output[:total], ends), strict=True):
                task.outputs[name] = rows


def _latest_deadline(tasks: list[Task]) -> float | None:
    deadlines = [task.deadline for task in tasks if task.deadline is not None]
    if len(deadlines) < len(tasks):
        return None
    if max(deadlines) <= time.monotonic():
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, "Run() timeout exceeded while waiting in batching queue")
    return max(deadlines)


def _rows(feeds: Feeds) -> int:
    if not feeds:
        raise invalid_argument("Batching Run() must have at least one input tensor")
    size: int | None = None
    for array in feeds.values():
        if array.ndim == 0:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        if size is not None and array.shape[0] != size:
            raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
        size = array.shape[0]
    return size or 0


def _merge(name: str, arrays: list[Array], padding: int, parameters: BatchingParameters) -> Array:
    if parameters.pad_variable_length_inputs:
        arrays = _pad_to_largest(arrays)
    elif any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
        raise ServingError(
            grpc.StatusCode.FAILED_PRECONDITION,
            f"Tensors with name '{name}' from different tasks have different shapes and padding is turned off. Set "
            "pad_variable_length_inputs to true, or ensure that all tensors with the same name have equal dimensions "
            "starting with the first dim.",
        )
    for array in arrays:
        if array.dtype != arrays[0].dtype:
            raise ServingError(
                grpc.StatusCode.INTERNAL,
                "Tensor concat operation failed: INVALID_ARGUMENT: Cannot concatenate tensors that have different data "
                f"types. Got {type_name(arrays[0].dtype)} and {type_name(array.dtype)}.",
            )
    # Any valid row will do as padding; the real server takes the first row of the last request.
    arrays += [next(array for array in reversed(arrays) if array.shape[0])[:1]] * padding
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _pad_to_largest(arrays: list[Array]) -> list[Array]:
    if len({array.ndim for array in arrays}) > 1:
        raise invalid_argument("Tensors with the same name must have equal ranks to be padded")
    largest = np.max([array.shape for array in arrays], axis=0)[1:]
    padded = []
    for array in arrays:
        widths = [(0, 0), *((0, int(size) - own) for size, own in zip(largest, array.shape[1:], strict=True))]
        fill = array.flat[0] if array.size else 0
        padded.append(np.pad(array, widths, constant_values=fill))
    return padded
