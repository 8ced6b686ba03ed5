import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
from PIL import Image

from client import ChannelOptions, InputError, ServingClient, UnreachableError
from client.bench.baseline import Baseline, Subject, compare_results, read_baseline
from client.bench.histogram import Histogram, merged
from client.bench.load import NO_RETRY, _limits, measure
from client.bench.loops import Load, _departures
from client.bench.plot import plot_latency
from client.bench.processes import Server, Workers
from client.bench.requests import sample_requests
from client.bench.search import search_rate
from client.cli.commands import run
from client.rpc.metadata import Target
from client.samples import random_samples
from signatures.contract import names


def test_histograms_merge_into_one_of_all_they_counted():
    one, other = Histogram(), Histogram()
    for value in (0.001, 0.002):
        one.record(value)
    other.record(5.0)
    whole = merged([one, other])
    assert (whole.total, whole.largest) == (3, 5.0)
    assert whole.percentile(50) == pytest.approx(0.002, rel=1e-3)
    assert merged([]).percentile(99) == 0.0


@pytest.fixture
def client(server):
    with ServingClient(server.address, "letters", timeout=5, options=ChannelOptions(retry=NO_RETRY)) as client:
        yield client


@pytest.fixture
def requests(client):
    signature = client.metadata().signature(names.SERVING_DEFAULT)
    return list(sample_requests(Target("letters"), signature, random_samples(client.metadata(), 2), [1, 3], 2))


def test_a_closed_loop_makes_the_calls_asked_for_with_each_k_in_turn(client, server, requests):
    result = measure(client, requests, Load(concurrency=3, calls=50, warmup=0))
    assert (result.answered, result.errors, result.versions) == (50, {}, {"1": 50})
    assert result.examples_per_second == pytest.approx(2 * result.calls_per_second)
    assert 0 < result.percentiles_ms["50"] <= result.percentiles_ms["99.9"] <= result.longest_ms
    sent = [tuple(request.inputs[names.K]) for request in server.requests]
    assert {(1, 1), (3, 3)} == set(sent)


def test_an_open_loop_keeps_its_rate_whatever_comes_back(client, server, model, requests):
    right, calls, four = model.predict, itertools.count(1), threading.Event()

    def predict(signature, inputs):
        if next(calls) == 4:
            four.set()
        # A loop that waited for an answer would never send the fourth call.
        assert four.wait(5)
        return right(signature, inputs)

    model.predict = predict
    result = measure(client, requests, Load(rate=40, calls=20, warmup=0))
    assert (result.answered, result.errors) == (20, {})
    # Three intervals pass until the fourth comes.
    assert result.longest_ms >= 50


def test_a_stall_shows_in_all_requests_that_it_held_up(client, model, requests):
    right, calls = model.predict, []
    held = threading.Event()

    def predict(signature, inputs):
        calls.append(1)
        if len(calls) == 10:
            threading.Timer(0.5, held.set).start()
        if len(calls) >= 10:
            held.wait()
        return right(signature, inputs)

    model.predict = predict
    result = measure(client, requests, Load(rate=100, calls=60, warmup=0))
    assert result.answered == 60
    # Half a second holds up about 50 of 60; a loop that waited would have seen four slow calls.
    assert result.percentiles_ms["50"] > 100


def test_errors_are_counted_by_code_and_not_retried(client, model, fake, requests):
    right, calls = model.predict, itertools.count(1)

    def predict(signature, inputs):
        if next(calls) % 5 == 0:
            raise fake.Error(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return right(signature, inputs)

    model.predict = predict
    for load in (Load(concurrency=1, calls=20, warmup=0), Load(rate=200, calls=20, warmup=0)):
        result = measure(client, requests, load)
        assert result.errors == {"RESOURCE_EXHAUSTED": 4}
        assert result.answered == 16


def test_versions_that_answered_are_counted(client, server, fake, requests):
    second = fake.Model()
    second.version = 2
    first, right, calls = server.models[1], server.models[1].predict, itertools.count(1)

    def predict(signature, inputs):
        if next(calls) == 5:
            server.models[2] = second
        return right(signature, inputs)

    first.predict = predict
    result = measure(client, requests, Load(concurrency=1, calls=20, warmup=0))
    assert result.versions == {"1": 5, "2": 15}


@pytest.mark.parametrize("rate", [None, 200.0])
def test_a_restart_in_the_middle_is_seen_as_errors(fake, model, rate):
    server = fake.Server(model)
    servers = [server]

    def restart():
        server.stop()
        time.sleep(0.2)
        servers.append(fake.Server(model, server.port))

    with ServingClient(server.address, "letters", options=ChannelOptions(retry=NO_RETRY)) as client:
        signature = client.metadata().signature(names.SERVING_DEFAULT)
        requests = list(sample_requests(Target("letters"), signature, random_samples(client.metadata(), 1), [], 1))
        thread = threading.Timer(0.2, restart)
        thread.start()
        load = Load(concurrency=None if rate else 2, rate=rate, duration=1.5, warmup=0)
        result = measure(client, requests, load)
        thread.join()
    for one in servers:
        one.stop()
    assert result.errors
    assert result.answered


def test_it_says_when_the_generator_was_measured():
    assert _limits(0.3, 0.0002, 0.010) == []
    assert "busy 95%" in _limits(0.95, 0.0, 0.010)[0]
    assert "late" in _limits(0.3, 0.005, 0.010)[0]


def test_requests_that_a_signature_does_not_take_are_refused(client):
    metadata = client.metadata()
    samples = random_samples(metadata, 1)
    with pytest.raises(InputError, match="takes JPEG and PNG files only"):
        next(sample_requests(Target("letters"), metadata.signature(names.ENCODED_IMAGES), samples, [], 1))
    with pytest.raises(InputError, match="takes no k"):
        next(sample_requests(Target("letters"), metadata.signature(names.FIXED_K), samples, [1], 1))


@pytest.fixture
def bench(server, capfd):
    def call(*arguments):
        status = run(["--address", server.address, "--model", "letters", "bench", "--warmup", "0", *arguments])
        out, err = capfd.readouterr()
        return status, out, err

    return call


@pytest.fixture
def baseline(bench, tmp_path):
    """A function that runs a benchmark and keeps what it prints."""

    def measured(*arguments):
        status, out, _ = bench(*arguments, "--count", "20", "--json")
        assert status == 0
        file = tmp_path / "baseline.json"
        file.write_text(out)
        return file

    return measured


def test_the_command_sweeps_and_compares_with_a_baseline(bench, baseline):
    file = baseline("--concurrency", "1,2", "--rate", "100", "--k", "1,2")
    stated = json.loads(file.read_text())
    assert [result["load"] for result in stated["results"]] == ["1 at once", "2 at once", "100 a second"]
    assert (stated["signature"], stated["k"], stated["inputs"], stated["batch"]) == (
        "serving_default",
        [1, 2],
        "random",
        1,
    )
    arguments = ("--concurrency", "2,4", "--count", "20", "--k", "2,1", "--baseline", str(file))
    status, out, _ = bench(*arguments, "--json")
    answer = json.loads(out)
    assert status == 0
    assert [one["load"] for one in answer["compared"]] == ["2 at once"]
    assert answer["not_compared"] == ["4 at once"]
    status, out, _ = bench(*arguments)
    assert "2 at once, against the baseline: " in out
    assert "4 at once: there is nothing to compare with in the baseline." in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--signature", "top_k", "--k", "1"), "signature serving_default, not top_k"),
        ((), "k 1, not left out"),
        (("--k", "1,2"), "k 1, not 1,2"),
        (("--k", "1", "--batch", "2"), "batch 1, not 2"),
        (("--k", "1", "PICTURE"), "inputs random, not pictures"),
        (("--k", "1", "--concurrency", "4"), "the baseline measured 1 at once, 2 at once, not 4 at once"),
        (("--k", "1", "--rate", "2"), "not 2 a second"),
    ],
)
def test_runs_that_sent_something_else_are_not_compared_with_a_baseline(
    bench, baseline, server, arguments, said, tmp_path
):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "picture.png")
    file = baseline("--concurrency", "1,2", "--k", "1")
    sent = len(server.requests)
    arguments = [str(tmp_path / "picture.png") if argument == "PICTURE" else argument for argument in arguments]
    status, out, err = bench(*arguments, "--baseline", str(file))
    assert (status, out) == (2, "")
    assert said in err
    assert len(server.requests) == sent


def test_a_baseline_of_another_model_is_called_by_its_name(bench, baseline):
    file = baseline("--concurrency", "1")
    file.write_text(file.read_text().replace('"model": "letters"', '"model": "digits"'))
    status, out, _ = bench("--count", "20", "--baseline", str(file))
    assert status == 0
    assert "against the baseline, which is of model digits: " in out


def test_the_command_fails_when_calls_failed(bench, model):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(1)
        if len(calls) == 5:
            raise ValueError
        return right(signature, inputs)

    model.predict = predict
    status, out, _ = bench("--count", "10")
    assert status == 1
    assert "1 calls failed with UNKNOWN" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("--concurrency", "0"),
        ("--concurrency", "a"),
        ("--rate", "-1"),
        ("--rate", "nan"),
        ("--rate", "inf"),
        ("--k", "1.5"),
        ("--duration", "nan"),
        ("--duration", "inf"),
        ("--warmup", "nan"),
        ("--target-p99", "nan"),
    ],
)
def test_numbers_that_make_no_load_are_refused(bench, server, arguments):
    status, out, err = bench(*arguments)
    assert (status, out) == (2, "")
    assert "Traceback" not in err
    assert server.requests == []


@pytest.mark.parametrize("content", ["", "[]", "3", '{"results": [{}]}', '{"results": 3}', '{"results": []}'])
def test_a_file_that_is_no_baseline_is_refused(tmp_path, content):
    file = tmp_path / "baseline.json"
    file.write_text(content)
    with pytest.raises(InputError, match="is not what serving-client bench --json prints"):
        read_baseline(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_baseline(tmp_path / "absent")


def test_a_baseline_of_half_the_speed_shows_twice_the_calls(client, requests):
    result = measure(client, requests, Load(concurrency=1, calls=10, warmup=0))
    numbers = (result.calls_per_second, result.percentiles_ms["50"], result.percentiles_ms["99"])
    subject = Subject(signature="serving_default", k=(1, 3), inputs="random", batch=2)
    slower = (numbers[0] / 2, numbers[1] * 2, numbers[2] * 2)
    (one,) = compare_results(Baseline("letters", subject, {result.load: slower}), [result])
    assert (one.calls_per_second, one.median, one.p99) == pytest.approx((2, 0.5, 0.5))
    assert compare_results(Baseline("letters", subject, {"2 at once": slower}), [result]) == []
    assert compare_results(Baseline("letters", subject, {result.load: (0.0, 0.0, 0.0)}), [result]) == []


COMMAND = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from client.cli import main; main()"
)


@pytest.mark.parametrize(
    "load",
    [
        ("--concurrency", "3,5"),
        ("--rate", "100,200"),
        ("--concurrency", "4", "--processes", "2"),
        ("--rate", "100", "--processes", "2"),
    ],
    ids=["closed", "open", "closed-processes", "open-processes"],
)
@pytest.mark.parametrize("hangs", [False, True])
def test_ctrl_c_prints_the_calls_answered_until_then(server, model, load, hangs):
    right, calls, released = model.predict, [], threading.Event()

    def predict(signature, inputs):
        calls.append(signature)
        if hangs and len(calls) > 40:
            released.wait(60)
        return right(signature, inputs)

    model.predict = predict
    arguments = ["--address", server.address, "--model", "letters", "--timeout", "60", "bench", "--warmup", "0", *load]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--duration", "60", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(calls) <= 40:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        released.set()
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in err
    answer = json.loads(out)
    assert answer["interrupted"]
    (result,) = answer["results"]
    assert result["interrupted"]
    assert result["answered"] > 0
    assert result["errors"] == {}


@pytest.mark.parametrize("load", [("--rate", "0.02"), ("--concurrency", "2")], ids=["between-requests", "at-the-start"])
def test_ctrl_c_of_a_terminal_reaches_all_processes_and_ends_them(server, load):
    """A terminal sends it to the processes that send the load too, while these start and while they wait."""
    arguments = [
        "--address",
        server.address,
        "--model",
        "letters",
        "bench",
        "--warmup",
        "0",
        "--duration",
        "600",
        *load,
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--processes", "3"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert "..." in process.stderr.readline()
        # Each sends its first request at once, and the second after minutes.
        while "--rate" in load and sum(hasattr(one, "inputs") for one in server.requests) < 4:
            time.sleep(0.01)
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=30)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
    assert (process.returncode, "Traceback" in err) == (130, False), err


def test_ctrl_c_shows_the_table_to_a_person(bench, monkeypatch):
    measured = []

    def measure_once(*arguments):
        if measured:
            raise KeyboardInterrupt
        measured.append(1)
        return measure(*arguments)

    monkeypatch.setattr("client.bench.processes.measure", measure_once)
    status, out, err = bench("--concurrency", "1,2", "--count", "10")
    assert status == 130
    assert "1 at once" in out
    assert "Interrupted" in err
    monkeypatch.setattr("client.bench.processes.measure", measure_once)
    status, out, _ = bench("--concurrency", "1", "--count", "10")
    assert (status, out) == (130, "Nothing was measured.\n")


def test_a_plot_is_drawn_where_matplotlib_is(client, requests, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra plot")
    result = measure(client, requests, Load(concurrency=1, calls=10, warmup=0))
    plot_latency([result], tmp_path / "latency.png")
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="nosuch"):
        plot_latency([result], tmp_path / "latency.nosuch")


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'sparsehead\[plot\]'"):
        plot_latency([], tmp_path / "latency.png")


def test_processes_share_a_load(bench, server):
    status, out, _ = bench("--concurrency", "3", "--rate", "60", "--count", "31", "--processes", "2", "--json")
    answer = json.loads(out)
    assert (status, answer["processes"]) == (0, 2)
    assert [result["answered"] for result in answer["results"]] == [31, 31]
    assert [result["errors"] for result in answer["results"]] == [{}, {}]


def test_processes_are_kept_from_one_load_to_the_next(server, requests):
    with Workers(Server(server.address, "letters", 5, ChannelOptions()), 2) as workers:
        assert workers.measure(requests, Load(concurrency=2, calls=4, warmup=0)).answered == 4
        before = [process.pid for process in workers._processes]
        # Fewer callers than processes, and other requests.
        assert workers.measure(requests[:1], Load(concurrency=1, calls=3, warmup=0)).answered == 3
        assert workers.measure(requests, Load(rate=100, calls=5, warmup=0)).answered == 5
        assert [process.pid for process in workers._processes] == before
        processes = workers._processes
    assert not any(process.is_alive() for process in processes)
    sent = [tuple(request.inputs[names.K]) for request in server.requests[-8:]]
    assert sent[:3] == [(1, 1)] * 3
    assert set(sent[3:]) == {(1, 1), (3, 3)}


def test_requests_at_random_times_come_at_the_rate_asked_for(client, server, requests):
    load = Load(rate=200, poisson=True, calls=200, warmup=0)
    offsets = list(_departures(load))
    assert len(offsets) == 200
    gaps = np.diff(offsets)
    # An exponential distribution: its deviation is its mean.
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.5)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.5)
    warm = list(_departures(Load(rate=100, poisson=True, duration=2, warmup=1)))
    assert warm[0] == -1
    assert max(warm) < 2
    assert measure(client, requests, load).answered == 200


@pytest.mark.parametrize(("limit", "found"), [(100.0, 100), (700.0, 700), (5000.0, 5000), (60_000.0, 60_000), (0.0, 0)])
def test_the_search_ends_close_to_the_highest_rate(limit, found):
    """A server that answers in 2 ms up to a rate, and beyond it in 2 s."""

    def run(load):
        milliseconds = 2.0 if load.rate <= limit else 2000.0
        return SimpleNamespace(
            interrupted=False,
            answered=10,
            errors={},
            seconds=load.duration,
            scheduled=load.duration,
            percentiles_ms={"50": milliseconds, "99": milliseconds},
        )

    good = [rate for rate, kept in search_rate(run, Load(), 1000, 10) if kept]
    assert max(good, default=0) <= found
    assert max(good, default=0) >= found / 1.06


def test_requests_at_random_times_are_few_by_chance_and_slow_answers_late_but_both_keep_the_rate():
    def run(load):
        # At 5 a second 42 requests in 10 seconds are as likely as 58. The last answer comes after its second.
        return SimpleNamespace(
            interrupted=False,
            answered=42,
            errors={},
            seconds=10.9,
            scheduled=9.9,
            percentiles_ms={"50": 1000.0, "99": 1000.0},
        )

    assert next(search_rate(run, Load(duration=10, poisson=True), 5 / 0.7, 2000))[1]


def test_a_rate_that_was_interrupted_is_not_kept():
    def run(load):
        percentiles = {"50": 1.0, "99": 1.0}
        return SimpleNamespace(
            interrupted=True, answered=100, errors={}, seconds=1.0, scheduled=1.0, percentiles_ms=percentiles
        )

    ((_, kept),) = search_rate(run, Load(duration=10), 100, 10)
    assert not kept


def test_a_rate_whose_requests_pile_up_is_not_kept():
    def run(load):
        # The requests were sent in 10 seconds, and the server took 11 for them.
        return SimpleNamespace(
            interrupted=False,
            answered=100,
            errors={},
            seconds=11.0,
            scheduled=9.9,
            percentiles_ms={"50": 500.0, "99": 1000.0},
        )

    assert not next(search_rate(run, Load(duration=10), 10, 2000))[1]


def test_the_command_searches_for_a_rate(bench, model):
    arguments = ("--concurrency", "2", "--duration", "0.2", "--target-p99")
    status, out, _ = bench(*arguments, "2000", "--json")
    answer = json.loads(out)
    assert (status, answer["target_p99_ms"]) == (0, 2000)
    assert answer["highest_rate"] > 0
    status, out, _ = bench(*arguments, "0.001")
    assert status == 1
    assert "No rate that was tried keeps the 99th percentile at 0.001 ms or less." in out
    assert bench("--rate", "5", "--target-p99", "5")[0] == 2


def test_a_process_that_cannot_reach_the_server_is_one_sentence(server, requests):
    gone = Server("localhost:1", "letters", 0.5, ChannelOptions())
    with Workers(gone, 2) as workers, pytest.raises(UnreachableError, match="localhost:1"):
        workers.measure(requests, Load(concurrency=2, calls=2, warmup=0))
