"""Recording: what is recorded of a client's calls, and that no call suffers from it."""

import asyncio
import errno
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest

from client import AsyncServingClient, InputError, Recorder, ServerError, ServingClient
from client.recording import files, recorded_requests, recorder
from client.rpc.calls import CLASSIFY, PREDICT
from client.rpc.codec import decode_tensor
from client.rpc.messages import ClassificationResponse, PredictResponse
from client.rpc.metadata import Target
from client.samples.images import png
from client.testing import MockTransport
from signatures.contract import names

FILE = png(np.zeros((4, 4, 1), np.uint8))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "traffic.tfrecord"


def texts(path):
    """The texts of the requests in a file, in order."""
    return [decode_tensor(recorded.message().inputs["text"])[0].decode() for recorded in recorded_requests(path)]


def calling(record):
    transport = MockTransport({"serving_default": {"probabilities": [[0.5]]}}, inputs={"text": "string"})
    return ServingClient("test:0", "topics", transport=transport, record=record)


@pytest.mark.parametrize("answers", [False, True])
def test_predict_and_classify_requests_are_recorded_as_they_were_sent(server, model, images, path, answers):
    with Recorder(path, answers=answers) as record, ServingClient(server.address, "letters", record=record) as client:
        client.wait_until_ready()
        client.info()
        expected = client.predict(images, [1, 2, 3, 4, 5], names.TOP_K)
        client.classify([{names.IMAGE_FEATURE: FILE, "k": 3}])
        client.predict({names.IMAGES: images}, version=1, validate=False)
    top_k, classified, plain = recorded_requests(path)
    assert (record.recorded, record.dropped) == (3, 0)
    assert [one.method for one in (top_k, classified, plain)] == [PREDICT, CLASSIFY, PREDICT]
    message = top_k.message()
    assert (message.model_spec.name, message.model_spec.signature_name) == ("letters", names.TOP_K)
    np.testing.assert_array_equal(decode_tensor(message.inputs[names.IMAGES]), images)
    assert decode_tensor(message.inputs[names.K]).tolist() == [1, 2, 3, 4, 5]
    assert plain.message().model_spec.version.value == 1
    assert names.K not in plain.message().inputs
    (example,) = classified.message().input.example_list.examples
    assert example.features.feature["k"].int64_list.value == [3]
    assert bool(top_k.response) == bool(classified.response) == answers
    if answers:
        outputs = PredictResponse.FromString(top_k.response).outputs
        np.testing.assert_array_equal(decode_tensor(outputs[names.INDICES]), expected[names.INDICES])
        assert len(ClassificationResponse.FromString(classified.response).result.classifications) == 1


def test_what_the_client_asks_on_its_own_account_is_not_recorded(server, version, path):
    with Recorder(path) as record, ServingClient(server.address, "letters", record=record) as client:
        client.metadata()
        client.info()
        assert client.check(version).passed
    assert record.recorded == record.dropped == 0
    assert not path.exists()


def test_a_request_that_fails_is_not_recorded_as_it_would_end_a_warm_up(server, model, images, path):
    model.batching = True
    with Recorder(path) as record, ServingClient(server.address, "letters", record=record) as client:
        with pytest.raises(ServerError):
            client.predict({names.IMAGES: images}, signature="absent", validate=False)
        # The server refuses a k that is left out, and the client then sends the default.
        client.predict(images)
    (recorded,) = recorded_requests(path)
    assert decode_tensor(recorded.message().inputs[names.K]).tolist() == [2] * 5


def test_the_asyncio_client_records_too(server, images, path):
    async def ask(record):
        async with AsyncServingClient(server.address, "letters", record=record) as client:
            await asyncio.gather(*(client.predict(images, k) for k in range(20)))

    record = Recorder(path)
    asyncio.run(ask(record))
    # The client has flushed it when it closed.
    asked = {tuple(decode_tensor(one.message().inputs[names.K]).tolist()) for one in recorded_requests(path)}
    assert asked == {(k,) * 5 for k in range(20)}
    assert record.recorded == 20


def test_a_share_of_the_requests_is_recorded(path):
    random.seed(0)
    with Recorder(path, share=0.1) as record, calling(record) as client:
        for _ in range(1000):
            client.predict(["a text"])
    assert 60 < record.recorded < 140
    assert record.dropped == 0
    assert len(list(recorded_requests(path))) == record.recorded


def test_threads_and_clients_may_share_a_recorder_and_recorders_a_path(path):
    def ask(record, name):
        with calling(record) as client:
            for number in range(50):
                client.predict([f"{name} {number}"])

    shared, alone = Recorder(path), Recorder(path)
    owners = {"a": shared, "b": shared, "c": alone}
    threads = [threading.Thread(target=ask, args=(record, name)) for name, record in owners.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (shared.recorded, alone.recorded) == (100, 50)
    found = texts(path)
    assert len(found) == 150
    for name in owners:
        assert [text for text in found if text.startswith(name)] == [f"{name} {number}" for number in range(50)]


def test_requests_can_be_sent_to_another_model_or_version(path):
    with Recorder(path) as record, calling(record) as client:
        client.predict(["a text"], version=3)
    (recorded,) = recorded_requests(path)
    for target in (Target("b"), Target("b", 7), Target("b", label="stable")):
        message = recorded.addressed(target).message()
        spec = message.model_spec
        assert (spec.name, spec.version.value, spec.version_label) == ("b", target.version or 0, target.label or "")
        assert spec.signature_name == names.SERVING_DEFAULT
        assert message.inputs == recorded.message().inputs


@pytest.mark.parametrize("failure", ["refused", "cut short"])
def test_a_full_disk_drops_records_and_leaves_the_file_whole(monkeypatch, path, failure):
    writev, write, full = os.writev, os.write, False

    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(file, parts):
        if not full:
            return writev(file, parts)
        return refuse() if failure == "refused" else write(file, parts[0] + parts[1][:3])

    monkeypatch.setattr(files.os, "writev", fill)
    monkeypatch.setattr(files.os, "write", refuse)
    with Recorder(path) as record, calling(record) as client:
        client.predict(["before"])
        record.flush()
        full = True
        client.predict(["lost"])
        record.flush()
        assert texts(path) == ["before"]
        full = False
        client.predict(["after"])
    assert (record.recorded, record.dropped) == (2, 1)
    assert record.error == f"{path} cannot be written: No space left on device"
    assert texts(path) == ["before", "after"]


@pytest.fixture
def slow_disk(monkeypatch):
    """A disk that takes nothing until the event is set."""
    written, free = os.writev, threading.Event()

    def writev(file, parts):
        assert free.wait(30)
        return written(file, parts)

    monkeypatch.setattr(files.os, "writev", writev)
    yield free
    free.set()


def test_a_slow_disk_never_holds_up_a_call(monkeypatch, slow_disk, path):
    monkeypatch.setattr(recorder, "QUEUE_BYTES", 100_000)
    record = Recorder(path)
    client = calling(record)
    for _ in range(100):
        client.predict(["x" * 5_000])
    assert 70 <= record.dropped <= 90
    assert record.recorded == 0
    slow_disk.set()
    record.close()
    assert record.recorded + record.dropped == 100
    assert len(texts(path)) == record.recorded


def test_closing_waits_for_a_hanging_disk_only_so_long(slow_disk, path):
    record = Recorder(path)
    client = calling(record)
    client.predict(["written too late"])
    record.flush(0.2)
    client.predict(["never written"])
    record.close(0.2)
    assert (record.recorded, record.dropped) == (0, 1)
    client.predict(["after the end"])
    assert record.dropped == 2


def test_a_thread_that_has_nothing_to_write_ends_and_another_comes(monkeypatch, path):
    monkeypatch.setattr(recorder, "_IDLE", 0.01)
    with Recorder(path) as record, calling(record) as client:
        for number in range(3):
            client.predict([f"text {number}"])
            record.flush()
            while record._thread is not None:
                record._thread.join(0.01)
    assert texts(path) == ["text 0", "text 1", "text 2"]


def test_where_no_thread_can_start_requests_are_dropped(monkeypatch, path):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with Recorder(path) as record, calling(record) as client:
        assert client.predict(["a text"])
    assert (record.recorded, record.dropped) == (0, 1)


def test_a_request_that_takes_more_than_a_quarter_is_dropped(path):
    with Recorder(path, max_bytes=40_000) as record, calling(record) as client:
        client.predict(["x" * 10_000])
        client.predict(["small"])
    assert (record.recorded, record.dropped) == (1, 1)
    assert texts(path) == ["small"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"share": 0}, "share is 0: give a number above 0 and up to 1"),
        ({"share": float("nan")}, "share is nan"),
        ({"max_bytes": 100}, "max_bytes is 100: give at least 4096"),
    ],
)
def test_wrong_settings_are_refused(path, arguments, said):
    with pytest.raises(InputError, match=said):
        Recorder(path, **arguments)


def test_a_path_that_cannot_be_recorded_to_is_refused_and_left_alone(tmp_path):
    notes = tmp_path / "notes.txt"
    notes.write_text("not a record")
    for path, said in (
        (notes, "holds something other than records: give the path of a new file"),
        (tmp_path, "is not a file"),
        (tmp_path / "absent" / "file", "there is no folder"),
    ):
        with pytest.raises(InputError, match=said):
            Recorder(path)
    assert notes.read_text() == "not a record"


def test_only_the_owner_may_read_what_users_sent(path):
    with Recorder(path) as record, calling(record) as client:
        client.predict(["a secret"])
    assert path.stat().st_mode & 0o777 == 0o600


HEAD = """
import os, sys
from client import Recorder, ServingClient
from client.testing import MockTransport
transport = MockTransport({"serving_default": {"scores": [[0.5]]}}, inputs={"text": "string"})
record = Recorder(sys.argv[1])
client = ServingClient("test:0", "topics", transport=transport, record=record)
"""


def run(script, path):
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", HEAD + script, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_that_closes_nothing_loses_nothing_at_its_end(path):
    run("for number in range(5): client.predict([str(number)])", path)
    assert texts(path) == ["0", "1", "2", "3", "4"]


def test_a_forked_process_records_on_its_own(path):
    script = """
client.predict(["parent, before"])
child = os.fork()
client.predict(["child" if child == 0 else "parent"])
assert record.dropped == 0
record.close()
assert record.recorded == (1 if child == 0 else 2), record
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    for _ in range(3):
        run(script, path)
    found = texts(path)
    assert sorted(found) == ["child"] * 3 + ["parent"] * 3 + ["parent, before"] * 3


def test_tensorflow_reads_the_file(path):
    tf = pytest.importorskip("tensorflow", reason="TensorFlow reads the file")
    from tensorflow_serving.apis import prediction_log_pb2

    with Recorder(path, answers=True) as record, calling(record) as client:
        for number in range(10):
            client.predict([f"text {number}"])
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(path))
    ]
    assert [tf.make_ndarray(log.predict_log.request.inputs["text"]).tolist() for log in logs] == [
        [f"text {number}".encode()] for number in range(10)
    ]
    assert all(log.predict_log.response.outputs["probabilities"].tensor_shape.dim for log in logs)
