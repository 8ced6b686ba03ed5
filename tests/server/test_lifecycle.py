"""The states of versions as GetModelStatus shows them while directories come, break and go.

Each test is a row of what was seen on a real tensorflow_model_server 2.20 with these flags.
"""

import shutil
import threading
import time
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from server.errors import ServingError
from server.models.lifecycle import State, VersionManager

FLAGS = {"max_num_load_retries": 1, "load_retry_interval_micros": 1_000_000, "file_system_poll_wait_seconds": 1}
END, GOOD, NEW, LOADING = "END", "AVAILABLE", "START", "LOADING"


@pytest.fixture
def states_last(monkeypatch):
    """Give whoever asks for the states, which is every 20 ms where the machine has the time, a chance to see each."""
    monkeypatch.setattr("server.models.lifecycle._TICK_SECONDS", 0.4)


@pytest.fixture
def ask(serve, make_version, base, client):
    """A client of a server that serves version 1."""
    make_version(base / "1", 1.0)
    return client(serve(model_base_path=base, **FLAGS))


def test_started_with_a_version_the_port_opens_when_it_is_available(ask):
    assert ask.statuses() == {1: (GOOD, 0, "")}


@pytest.mark.parametrize("path_exists", [True, False])
def test_started_without_a_version_the_port_stays_closed_until_one_comes(
    launch, make_version, base, client, path_exists
):
    if not path_exists:
        base.rmdir()
    server = launch(model_base_path=base, **FLAGS)
    ask = client(server.address)
    with pytest.raises(grpc.FutureTimeoutError):
        grpc.channel_ready_future(ask.channel).result(timeout=3)
    assert server.process.poll() is None
    base.mkdir(exist_ok=True)
    make_version(base / "1", 2.0)
    grpc.channel_ready_future(ask.channel).result(timeout=60)
    assert ask.scale(3) == [6]


def test_a_new_version_loads_beside_the_old_one_and_then_replaces_it(states_last, ask, base, make_version):
    make_version(base / "2", 2.0)
    seen = ask.wait_for({1: END, 2: GOOD})
    assert seen[1:3] == [{1: GOOD, 2: NEW}, {1: GOOD, 2: LOADING}]
    assert {1: END, 2: LOADING} not in seen
    assert ask.scale(3) == [6]


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        (
            "saved_model.pb",
            5,
            "Specified file path does not appear to contain a SavedModel bundle (should have a file called "
            "`saved_model.pb`)\nSpecified file path: {path}",
        ),
        (
            "",
            5,
            "Could not find meta graph def matching supplied tags: {{ serve }}. To inspect available tag-sets in the "
            "SavedModel, please use the SavedModel CLI: `saved_model_cli`",
        ),
    ],
    ids=["no saved_model.pb", "empty saved_model.pb"],
)
def test_a_version_that_fails_to_load_ends_after_its_retries_and_the_old_one_serves(
    states_last, ask, base, make_version, missing, code, message
):
    def empty(staging):
        if not missing:
            (staging / "saved_model.pb").write_bytes(b"")

    make_version(base / "3", without=missing, change=empty)
    began = time.monotonic()
    seen = ask.wait_for({1: GOOD, 3: END})
    assert time.monotonic() - began > 1, "it was tried once only"
    assert seen[1:] == [{1: GOOD, 3: NEW}, {1: GOOD, 3: LOADING}, {1: GOOD, 3: END}]
    assert ask.statuses()[3] == (END, code, message.format(path=base / "3"))
    assert ask.scale(3) == [3]


def test_a_version_without_variables_replaces_the_good_one_and_fails_every_request(
    states_last, ask, base, make_version
):
    make_version(base / "5", without="variables")
    ask.wait_for({1: END, 5: GOOD})
    assert ask.statuses()[5] == (GOOD, 0, "")
    for _ in range(3):
        code, message = ask.error({"x": [1.0]}, "scale")
        assert code == "FAILED_PRECONDITION"
        assert "Could not find variable" in message
    shutil.rmtree(base / "5")
    seen = ask.wait_for({1: GOOD, 5: END})
    assert {1: LOADING, 5: GOOD} in seen
    assert ask.scale(3) == [3]


def test_a_version_whose_warmup_names_an_absent_signature_fails_to_load(ask, base, make_version):
    def add_record(staging):
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.model_spec.signature_name = "nosuch"
        (staging / "assets.extra").mkdir()
        with tf.io.TFRecordWriter(str(staging / "assets.extra" / "tf_serving_warmup_requests")) as writer:
            writer.write(log.SerializeToString())

    make_version(base / "6", change=add_record)
    ask.wait_for({1: GOOD, 6: END})
    assert ask.statuses()[6] == (END, 9, 'Serving signature key "nosuch" not found.')
    assert ask.scale(3) == [3]


def test_the_newest_version_removed_the_one_before_it_comes_back_first(states_last, ask, base, make_version):
    make_version(base / "2", 2.0)
    ask.wait_for({1: END, 2: GOOD})
    shutil.rmtree(base / "2")
    seen = ask.wait_for({1: GOOD, 2: END})
    assert seen[1:3] == [{1: NEW, 2: GOOD}, {1: LOADING, 2: GOOD}]
    assert ask.scale(3) == [3]


def test_all_versions_removed_the_model_stays_known(ask, base):
    shutil.rmtree(base / "1")
    ask.wait_for({1: END})
    assert ask.error({"x": [1.0]}, "scale") == ("NOT_FOUND", "Servable not found for request: Latest(scaler)")


def test_a_failed_version_stays_failed_though_it_is_replaced_and_a_newer_one_moves_on(ask, base, make_version):
    """Version 1 has not been asked for since version 2 came, and is not asked for again while it is loaded.

    The server waits for version 1 to go before it takes the news that version 2 is gone, and version 1 waits for a
    successor; so version 2 is never forgotten (ContainsAnyReaspiredVersions in aspired_versions_manager.cc).
    """
    make_version(base / "2", without="saved_model.pb")
    ask.wait_for({1: GOOD, 2: END})
    shutil.rmtree(base / "2")
    time.sleep(2)
    make_version(base / "2", 2.0)
    time.sleep(3)
    assert ask.states() == {1: GOOD, 2: END}
    assert ask.statuses()[2][1] == 5
    assert ask.scale(3) == [3]
    make_version(base / "3", 3.0)
    ask.wait_for({1: END, 2: END, 3: GOOD})
    assert ask.scale(3) == [9]


def test_a_failed_version_is_tried_again_after_all_versions_were_gone(ask, base, make_version):
    make_version(base / "2", without="saved_model.pb")
    ask.wait_for({1: GOOD, 2: END})
    shutil.rmtree(base / "2")
    shutil.rmtree(base / "1")
    ask.wait_for({1: END, 2: END})
    make_version(base / "2", 2.0)
    ask.wait_for({1: END, 2: GOOD})
    assert ask.statuses()[2] == (GOOD, 0, "")


def test_the_base_path_gone_for_a_while_changes_nothing(ask, base, tmp_path):
    base.rename(tmp_path / "away")
    time.sleep(2.5)
    assert ask.states() == {1: GOOD}
    assert ask.scale(3) == [3]


def test_a_request_in_flight_is_answered_by_its_version_while_that_one_goes(ask, base, make_version):
    slow = ask.prediction.Predict.future(ask.request({"steps": [400_000]}, "count"), timeout=120)
    while ask.scale(3) == [3]:
        if not (base / "2").exists():
            make_version(base / "2", 2.0)
        time.sleep(0.05)
    assert slow.result().model_spec.version.value == 1
    ask.wait_for({1: END, 2: GOOD})


class Held:
    """A version that is unloaded when nobody uses it."""

    def __init__(self, path):
        self.closed = threading.Event()

    def close(self):
        self.closed.set()


@pytest.fixture
def versions():
    """A VersionManager whose versions are Held, with version 1 of model m AVAILABLE."""
    manager = VersionManager(Held, max_num_load_retries=0, load_retry_interval=0, log=lambda sentence: None)
    manager.aspire("m", {1: Path("1")})
    assert manager.wait_until_available(["m"], lambda: True) == {}
    yield manager
    manager.stop()


@pytest.mark.timeout(60)
def test_a_server_that_stops_does_not_wait_for_a_request_that_holds_an_old_version(versions):
    with versions.use("m", None) as (_, held):
        versions.aspire("m", {2: Path("2")})
        while versions.statuses("m")[1].state is not State.UNLOADING:
            time.sleep(0.01)
        versions.stop()
        assert held.closed.is_set()
    with pytest.raises(ServingError, match="Servable not found"), versions.use("m", None):
        pass
