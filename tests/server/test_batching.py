"""Server-side batching: what is merged, padded, split and rejected."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from server.caller import Caller
from server.config import BatchingParameters
from server.errors import ServingError
from server.inference.batching import BatchingSession
from server.inference.scheduler import BatchScheduler
from server.metrics import Metrics


class Recorder:
    """Doubles x, remembers the sizes it was run with, and can be held up."""

    def __init__(self):
        self.sizes = []
        self.deadlines = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, feeds, fetches, deadline):
        self.entered.release()
        assert self.go.wait(30)
        self.sizes.append(len(feeds["x"]))
        self.deadlines.append(deadline)
        if (feeds["x"] < 0).any():
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "negative")
        return [feeds["x"] * 2 for _ in fetches]


@pytest.fixture
def batching():
    """A function that gives a BatchingSession with these parameters over a Recorder, and a pool to call it from."""
    recorder = Recorder()
    schedulers = []

    def make(**parameters):
        scheduler = BatchScheduler(BatchingParameters(**{"num_batch_threads": 1, **parameters}), Metrics())
        schedulers.append(scheduler)
        return BatchingSession(scheduler, recorder), recorder

    with ThreadPoolExecutor(32) as pool:
        make.submit = lambda session, *args: pool.submit(run, session, *args)
        yield make
        recorder.go.set()
        for scheduler in schedulers:
            scheduler.stop()


def run(session, x, caller=Caller()):  # noqa: B008 (a Caller is frozen)
    return session.run({"x": np.asarray(x, np.float32)}, ["y"], caller)[0].tolist()


def hold(make, session, recorder):
    """Occupy the one thread; whatever comes meanwhile waits together."""
    recorder.go.clear()
    first = make.submit(session, [1])
    assert recorder.entered.acquire(timeout=30)
    return first


def wait_until(condition):
    until = threading.Event()
    for _ in range(3000):
        if condition():
            return
        until.wait(0.01)
    pytest.fail("it did not come to that")


def enqueued(session):
    return [batch.size for queue in session._queues.values() for batch in queue.batches]


def test_requests_that_wait_together_run_as_one_and_each_gets_its_rows(batching):
    session, recorder = batching(batch_timeout_micros=1000, allowed_batch_sizes=(1, 8, 1000))
    first = hold(batching, session, recorder)
    others = [batching.submit(session, [n, n + 0.5]) for n in range(3)]
    wait_until(lambda: enqueued(session) == [6])
    recorder.go.set()
    assert first.result() == [2]
    assert [future.result() for future in others] == [[0, 1], [2, 3], [4, 5]]
    assert recorder.sizes == [1, 8], "six rows were to be padded to eight"


def test_a_lone_request_runs_after_the_timeout(batching):
    session, recorder = batching(batch_timeout_micros=20_000, max_batch_size=4, allowed_batch_sizes=(4,))
    assert run(session, [3]) == [6]
    assert recorder.sizes == [4]


def test_one_that_fails_fails_all_that_share_its_execution(batching):
    session, recorder = batching()
    hold(batching, session, recorder)
    good = batching.submit(session, [1])
    wait_until(lambda: enqueued(session) == [1])
    bad = batching.submit(session, [-1])
    wait_until(lambda: enqueued(session) == [2])
    recorder.go.set()
    for future in (good, bad):
        with pytest.raises(ServingError, match="negative"):
            future.result()
    assert run(session, [2]) == [4]


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "Batching Run() must have at least one input tensor"),
        ({"x": np.float32(1)}, "Batching Run() input tensors must have at least one dimension"),
        ({"x": np.zeros(2), "z": np.zeros(3)}, "Batching Run() input tensors must have equal 0th-dimension size"),
        ({"x": np.zeros(33)}, "Task size 33 is larger than maximum input batch size 32"),
    ],
)
def test_what_cannot_be_batched_is_rejected(batching, feeds, message):
    session, _ = batching(max_batch_size=32)
    with pytest.raises(ServingError) as caught:
        session.run(feeds, ["y"], Caller())
    assert (caught.value.code, caught.value.message) == (grpc.StatusCode.INVALID_ARGUMENT, message)


def test_a_full_queue_rejects(batching):
    session, recorder = batching(max_batch_size=2, max_enqueued_batches=2)
    hold(batching, session, recorder)
    waiting = []
    for size, sizes in ((2, [2]), (2, [2, 2])):
        waiting.append(batching.submit(session, [1] * size))
        wait_until(lambda sizes=sizes: enqueued(session) == sizes)
    with pytest.raises(ServingError) as caught:
        run(session, [1])
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
    assert caught.value.message == (
        "The batch scheduling queue to which this task was submitted is full; currently 2 batches enqueued and "
        "max_enqueued_batches is 2"
    )
    recorder.go.set()
    assert [future.result() for future in waiting] == [[2, 2], [2, 2]]


def test_differing_shapes_fail_together_unless_they_are_padded(batching):
    for pad in (False, True):
        session, recorder = batching(pad_variable_length_inputs=pad)
        hold(batching, session, recorder)
        futures = [batching.submit(session, [[1, 2]]), batching.submit(session, [[3, 4, 5]])]
        wait_until(lambda session=session: enqueued(session) == [2])
        recorder.go.set()
        recorder.entered = threading.Semaphore(0)
        if pad:
            assert sorted(future.result() for future in futures) == [[[2, 4, 2]], [[6, 8, 10]]]
        else:
            for future in futures:
                with pytest.raises(ServingError, match="Tensors with name 'x' from different tasks") as caught:
                    future.result()
                assert caught.value.code is grpc.StatusCode.FAILED_PRECONDITION


def test_a_large_request_is_split_when_that_is_allowed(batching):
    session, recorder = batching(
        max_batch_size=100, max_execution_batch_size=4, enable_large_batch_splitting=True, allowed_batch_sizes=(2, 4)
    )
    assert run(session, range(10)) == [2 * n for n in range(10)]
    assert recorder.sizes == [4, 4, 2]
    with pytest.raises(ServingError, match="task size is 60 but scheduling capacity is only 40"):
        run(session, range(60))


def test_signatures_do_not_mix(batching):
    session, recorder = batching()
    hold(batching, session, recorder)
    other = batching.submit(session, [2])
    wait_until(lambda: enqueued(session) == [1])
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(session.run, {"x": np.float32([3])}, ["y", "z"], Caller())
        wait_until(lambda: sorted(enqueued(session)) == [1, 1])
        recorder.go.set()
        assert [value.tolist() for value in future.result()] == [[6], [6]]
    assert other.result() == [4]
    assert recorder.sizes == [1, 1, 1]


def test_no_examples_wait_for_ever_or_for_company(batching):
    session, _ = batching()
    asked = []
    with pytest.raises(ServingError, match="never executed"):
        run(session, [], Caller(lambda: bool(asked.append(1)) or len(asked) < 3))
    empty = batching.submit(session, [])
    wait_until(lambda: sum(len(queue.batches[-1].tasks) for queue in session._queues.values()) == 2)
    assert not empty.done()
    assert run(session, [5]) == [10]
    assert empty.result() == []


def test_a_batch_runs_until_its_latest_deadline_and_not_at_all_once_that_is_over(batching):
    session, recorder = batching(batch_timeout_micros=0)
    held = hold(batching, session, recorder)
    now = time.monotonic()
    late = batching.submit(session, [2], Caller(deadline=now - 1))
    wait_until(lambda: enqueued(session) == [1])
    recorder.go.set()
    with pytest.raises(ServingError, match="timeout exceeded while waiting in batching queue") as caught:
        late.result(timeout=30)
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert held.result(timeout=30) == [2]
    held = hold(batching, session, recorder)
    for seconds in (100, 200, -1):
        batching.submit(session, [3], Caller(deadline=now + seconds))
    wait_until(lambda: enqueued(session) == [3])
    recorder.go.set()
    wait_until(lambda: len(recorder.deadlines) == 3)
    assert recorder.deadlines == [None, None, now + 200]


def test_what_waits_when_the_model_is_unloaded_fails(batching):
    session, recorder = batching(batch_timeout_micros=0)
    held = hold(batching, session, recorder)
    waiting = batching.submit(session, [3])
    wait_until(lambda: enqueued(session) == [1])
    session.close()
    with pytest.raises(ServingError, match="The model was unloaded"):
        waiting.result(timeout=30)
    recorder.go.set()
    assert held.result(timeout=30) == [2]


def test_on_the_wire_k_must_come_for_each_example(serve, make_version, base, client, tmp_path):
    make_version(base / "1", 3.0)
    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 8 } batch_timeout_micros { value: 2000 } num_batch_threads { value: 2 }")
    ask = client(serve(model_base_path=base, enable_batching=True, batching_parameters_file=file, grpc_max_threads=64))
    x = np.float32([1, 2])
    assert ask.predict({"x": x, "k": np.int32([1, 1])})[0]["y"].tolist() == [4, 7]
    for inputs, outputs in (({"x": x}, ()), ({"x": x, "k": np.int32(1)}, ()), ({"x": x}, ["y"])):
        assert ask.error(inputs, outputs=outputs) == (
            "INVALID_ARGUMENT",
            "Batching Run() input tensors must have at least one dimension",
        )
    assert (
        ask.error({"x": x, "k": np.int32([1])})[1] == "Batching Run() input tensors must have equal 0th-dimension size"
    )
    assert ask.error({"x": x[:0]}, "scale", timeout=1)[0] == "DEADLINE_EXCEEDED"
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask.scale, range(64))) == [[3 * n] for n in range(64)]
