"""Server-side batching: requests of one signature that come close together run as one execution.

Follows BasicBatchScheduler and BatchingSession: a queue for each signature, threads shared by all queues, executions
padded to an allowed size, and the same rejections. A request of zero examples waits until another one joins it, for
ever if none does, as on the real server.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import grpc
import numpy as np

from server.config import BatchingParameters
from server.errors import ServingError, fault, invalid_argument
from server.tensors import type_name

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds, Sequence[str]], list[np.ndarray]]


@dataclass
class _Task:
    """One request, or one part of a split one, waiting for its rows of a batch."""

    feeds: Feeds
    size: int
    done: threading.Event = field(default_factory=threading.Event)
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    error: tuple[grpc.StatusCode, str] | None = None


@dataclass
class _Batch:
    tasks: list[_Task] = field(default_factory=list)
    size: int = 0
    started: float = 0.0


@dataclass(eq=False)
class _Queue:
    """The batches of one signature; the last one is open and takes more tasks."""

    run: Run
    fetches: tuple[str, ...]
    batches: deque[_Batch] = field(default_factory=lambda: deque([_Batch()]))


class BatchScheduler:
    """The threads that execute batches, for all models of a server."""

    def __init__(self, parameters: BatchingParameters) -> None:
        self.parameters = parameters
        self._queues: list[_Queue] = []
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Execute what was submitted, then end the threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def add_queue(self, queue: _Queue) -> None:
        """Let the threads execute what is submitted to a queue."""
        with self._changed:
            self._queues.append(queue)

    def remove_queue(self, queue: _Queue) -> None:
        """Forget a queue that nobody submits to any more."""
        with self._changed:
            self._queues.remove(queue)

    def submit(self, queue: _Queue, task: _Task) -> list[_Task]:
        """Put a task into the open batch of its queue; the parts to wait for, one unless it had to be split.

        Raises:
            ServingError: INVALID_ARGUMENT for too large a task, UNAVAILABLE when the queue is full.

        """
        parameters = self.parameters
        limit = parameters.execution_limit
        with self._changed:
            _check_capacity(queue, task.size, parameters)
            room = limit - queue.batches[-1].size
            parts = _split(task, room, limit) if parameters.enable_large_batch_splitting else [task]
            for part in parts:
                if queue.batches[-1].size + part.size > limit:
                    queue.batches.append(_Batch())
                batch = queue.batches[-1]
                if not batch.size:
                    batch.started = time.monotonic()
                batch.tasks.append(part)
                batch.size += part.size
            self._changed.notify()
        return parts

    def _work(self) -> None:
        while (next_batch := self._next_batch()) is not None:
            queue, batch = next_batch
            try:
                _execute(queue, batch.tasks, self.parameters)
            except Exception as error:
                known = error if isinstance(error, ServingError) else fault(error)
                for task in batch.tasks:
                    task.error = (known.code, known.message)
            finally:
                for task in batch.tasks:
                    task.done.set()

    def _next_batch(self) -> tuple[_Queue, _Batch] | None:
        """Wait for a batch that is full or old enough, the oldest first; None when the scheduler stops."""
        timeout = self.parameters.batch_timeout_micros / 1e6
        limit = self.parameters.execution_limit
        with self._changed:
            while True:
                waiting = [queue for queue in self._queues if queue.batches[0].size]
                if self._stopped and not waiting:
                    return None
                wait = None
                if waiting:
                    queue = min(waiting, key=lambda queue: queue.batches[0].started)
                    now = time.monotonic()
                    for candidate in [queue, *waiting]:
                        batch = candidate.batches[0]
                        is_due = self._stopped or now >= batch.started + timeout
                        if is_due or batch.size >= limit or len(candidate.batches) > 1:
                            candidate.batches.popleft()
                            if not candidate.batches:
                                candidate.batches.append(_Batch())
                            self._changed.notify()
                            return candidate, batch
                    wait = queue.batches[0].started + timeout - now
                self._changed.wait(wait)


class BatchingSession:
    """Runs of one loaded version through a BatchScheduler, with a queue for each set of feeds and fetches."""

    def __init__(self, scheduler: BatchScheduler, run: Run) -> None:
        self._scheduler = scheduler
        self._run = run
        self._queues: dict[tuple[frozenset[str], frozenset[str]], _Queue] = {}
        self._lock = threading.Lock()

    def run(self, feeds: Feeds, fetches: Sequence[str], is_wanted: Callable[[], bool]) -> list[np.ndarray]:
        """Give the fetched values for these feeds, computed together with other requests.

        Args:
            feeds: arrays with one leading dimension, the same for all.
            fetches: tensor names.
            is_wanted: whether somebody still waits for the answer; asked only about a request of no examples.

        Raises:
            ServingError: the request cannot be batched, or the execution failed, for whichever request in it.

        """
        parts = self._scheduler.submit(self._queue(feeds, fetches), _Task(feeds, _rows(feeds)))
        for part in parts:
            while not part.done.wait(None if part.size else 0.05):
                if not is_wanted():
                    raise ServingError(grpc.StatusCode.CANCELLED, "A batch of zero examples was never executed.")
        for part in parts:
            if part.error is not None:
                raise ServingError(*part.error)
        return [np.concatenate([part.outputs[name] for part in parts]) for name in fetches]

    def close(self) -> None:
        """Leave the scheduler."""
        for queue in self._queues.values():
            self._scheduler.remove_queue(queue)

    def _queue(self, feeds: Feeds, fetches: Sequence[str]) -> _Queue:
        key = (frozenset(feeds), frozenset(fetches))
        with self._lock:
            if key not in self._queues:
                self._queues[key] = _Queue(self._run, tuple(sorted(key[1])))
                self._scheduler.add_queue(self._queues[key])
            return self._queues[key]


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


def _check_capacity(queue: _Queue, size: int, parameters: BatchingParameters) -> None:
    if size > parameters.max_batch_size:
        raise invalid_argument(f"Task size {size} is larger than maximum input batch size {parameters.max_batch_size}")
    enqueued = len(queue.batches)
    open_size = queue.batches[-1].size
    limit = parameters.execution_limit
    full = "The batch scheduling queue to which this task was submitted is full; "
    if parameters.enable_large_batch_splitting:
        capacity = (parameters.max_enqueued_batches - enqueued) * limit + limit - open_size
        if size > capacity:
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE,
                f"{full}task size is {size} but scheduling capacity is only {capacity} "
                f"(num_enqueued_batches={enqueued}, max_enqueued_batches={parameters.max_enqueued_batches}, "
                f"open_batch_size={open_size}, max_execution_batch_size={limit})",
            )
    elif open_size + size > parameters.max_batch_size and enqueued >= parameters.max_enqueued_batches:
        raise ServingError(
            grpc.StatusCode.UNAVAILABLE,
            f"{full}currently {enqueued} batches enqueued and max_enqueued_batches is "
            f"{parameters.max_enqueued_batches}",
        )


def _split(task: _Task, room: int, limit: int) -> list[_Task]:
    """Cut the task in parts: the first fills the open batch, the others are whole executions."""
    if task.size <= room:
        return [task]
    starts = [0, *range(room or limit, task.size, limit)]
    parts = zip(starts, [*starts[1:], task.size], strict=True)
    return [_Task({name: array[start:end] for name, array in task.feeds.items()}, end - start) for start, end in parts]


def _execute(queue: _Queue, tasks: list[_Task], parameters: BatchingParameters) -> None:
    sizes = [task.size for task in tasks]
    total = sum(sizes)
    padded = next((size for size in parameters.allowed_batch_sizes if size >= total), total)
    feeds = {
        name: _merge(name, [task.feeds[name] for task in tasks], padded - total, parameters) for name in tasks[0].feeds
    }
    outputs = queue.run(feeds, queue.fetches)
    ends = np.cumsum(sizes)[:-1]
    for name, output in zip(queue.fetches, outputs, strict=True):
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


def _merge(name: str, arrays: list[np.ndarray], padding: int, parameters: BatchingParameters) -> np.ndarray:
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
    # Any valid row does as padding; the first of the last request is what the real server takes.
    arrays += [next(array for array in reversed(arrays) if array.shape[0])[:1]] * padding
    return np.concatenate(arrays) if len(arrays) > 1 else arrays[0]


def _pad_to_largest(arrays: list[np.ndarray]) -> list[np.ndarray]:
    if len({array.ndim for array in arrays}) > 1:
        raise invalid_argument("Tensors with the same name must have equal ranks to be padded")
    largest = np.max([array.shape for array in arrays], axis=0)[1:]
    padded = []
    for array in arrays:
        widths = [(0, 0), *((0, int(size) - own) for size, own in zip(largest, array.shape[1:], strict=True))]
        fill = array.flat[0] if array.size else 0
        padded.append(np.pad(array, widths, constant_values=fill))
    return padded
