"""Threads that execute batches: queues of tasks, filled up to a size or a timeout. Follows BasicBatchScheduler.

A task of zero examples waits until another one joins it, forever if none does, as on the real server.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from server import metrics
from server.config import BatchingParameters
from server.errors import ServingError, fault, invalid_argument
from server.metrics import Metrics

Feeds = Mapping[str, np.ndarray[Any, Any]]


@dataclass
class Task:
    """One request, or one part of a split one, waiting for its rows of a batch."""

    feeds: Feeds
    size: int
    deadline: float | None
    since: float = field(default_factory=metrics.now)
    done: threading.Event = field(default_factory=threading.Event)
    outputs: dict[str, np.ndarray[Any, Any]] = field(default_factory=dict)
    error: tuple[grpc.StatusCode, str] | None = None


@dataclass
class _Batch:
    tasks: list[Task] = field(default_factory=list)
    size: int = 0
    started: float = 0.0


@dataclass(eq=False)
class Queue:
    """The batches of one signature; the last one is open and takes more tasks."""

    execute: Callable[[list[Task]], None]
    batches: deque[_Batch] = field(default_factory=lambda: deque([_Batch()]))


class BatchScheduler:
    """The threads that execute batches, for all models of a server."""

    def __init__(self, parameters: BatchingParameters, metrics: Metrics) -> None:
        self.parameters = parameters
        self.metrics = metrics
        self._queues: list[Queue] = []
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

    def add_queue(self, queue: Queue) -> None:
        """Let the threads execute the tasks of a queue."""
        with self._changed:
            self._queues.append(queue)

    def remove_queue(self, queue: Queue) -> None:
        """Remove a queue. Tasks that still wait in it fail, because the server is stopping."""
        with self._changed:
            self._queues.remove(queue)
        for batch in queue.batches:
            for task in batch.tasks:
                task.error = (grpc.StatusCode.UNAVAILABLE, "The model was unloaded.")
                task.done.set()

    def submit(self, queue: Queue, task: Task) -> list[Task]:
        """Put a task into the open batch of its queue, and return the parts to wait for: one unless it had to be split.

        Raises:
            ServingError: INVALID_ARGUMENT if the task is too large, UNAVAILABLE if the queue is full.

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
            for task in batch.tasks:
                self.metrics.queuing_latency.add(metrics.now() - task.since, self.parameters.thread_pool_name)
            try:
                queue.execute(batch.tasks)
            except Exception as error:
                known = error if isinstance(error, ServingError) else fault(error)
                for task in batch.tasks:
                    task.error = (known.code, known.message)
            finally:
                for task in batch.tasks:
                    task.done.set()

    def _next_batch(self) -> tuple[Queue, _Batch] | None:
        """Wait for a batch that is full or old enough, the oldest first; return None when the scheduler stops."""
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


def _check_capacity(queue: Queue, size: int, parameters: BatchingParameters) -> None:
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


def _split(task: Task, room: int, limit: int) -> list[Task]:
    """Cut the task into parts: the first fills the open batch, the others fill new batches."""
    if task.size <= room:
        return [task]
    starts = [0, *range(room or limit, task.size, limit)]
    parts = zip(starts, [*starts[1:], task.size], strict=True)
    return [
        Task({name: array[start:end] for name, array in task.feeds.items()}, end - start, task.deadline, task.since)
        for start, end in parts
    ]
