"""`serving-client qualify` against a fake server: what it writes, and what stands in the way."""

import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest

from client import ServingClient
from client.cli.commands import run
from client.qualify.facts import metric_facts
from client.qualify.run import qualify


@pytest.fixture
def command(server, version, tmp_path, capfd, monkeypatch):
    """Run the command; returns the status, what it wrote as JSON (None where nothing), the page, stdout and stderr."""
    # Windows of 10 ms, and time for all of them on any machine.
    monkeypatch.setattr("client.qualify.run._WINDOWS", 30_000)

    def call(*arguments, connection=(), golden=version):
        output = tmp_path / "output"
        given = ["--address", server.address, "--model", "letters", *connection, "qualify", "--golden", str(golden)]
        status = run([*given, "--output", str(output), "--minutes", "5", *arguments])
        captured = capfd.readouterr()
        files = sorted(path.name for path in output.iterdir()) if output.exists() else []
        found = json.loads((output / "qualification.json").read_text()) if files else None
        page = (output / "qualification.html").read_text() if files else ""
        return SimpleNamespace(
            status=status, files=files, json=found, page=page, out=captured.out, err=captured.err, output=output
        )

    return call


def test_it_writes_a_page_and_a_json_that_a_check_reads(command, server, version, capfd):
    done = command("--json")
    assert (done.status, done.files) == (0, ["qualification.html", "qualification.json"])
    assert json.loads(done.out) == done.json
    assert "examples/s" in done.err
    assert [size["batch"] for size in done.json["deviation"]] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert [size["rows"] for size in done.json["deviation"]] == [9, 10, 12, 16, 16, 32, 64, 128, 256]
    rates = [point["examples_per_second"] for point in done.json["load"]["points"]]
    assert done.json["load"]["best"]["examples_per_second"] == max(rates)
    check = ["--address", server.address, "--model", "letters", "check", "--golden", str(version), "--json"]
    assert run([*check, "--tolerances", str(done.output / "qualification.json")]) == 0
    assert json.loads(capfd.readouterr().out)["tolerances"] == done.json["tolerances"]


def test_a_server_that_computes_less_exactly_passes_a_check_with_its_own_tolerances(
    command, server, model, version, capfd
):
    right = model.dense
    # Each batch size rounds in its own way, as on a GPU.
    model.dense = lambda images: (right(images) * np.float32(1 + 1e-3 * np.sin(len(images)))).astype(np.float32)
    done = command()
    assert done.status == 0
    assert max(size["largest"] for size in done.json["deviation"]) > 5e-4
    check = ["--address", server.address, "--model", "letters", "check", "--golden", str(version)]
    assert run(check) == 1
    assert run([*check, "--tolerances", str(done.output / "qualification.json")]) == 0
    assert "These tolerances cannot see: differences of less than" in capfd.readouterr().out


def test_another_model_gets_no_tolerances(command, server, model, version, capfd):
    model.weights = model.weights * 1.5
    done = command()
    assert done.status == 1
    assert done.json["tolerances"] is None
    assert "differ more from the golden ones than any hardware" in done.page
    file = str(done.output / "qualification.json")
    check = ["--address", server.address, "--model", "letters", "check", "--golden", str(version)]
    assert run([*check, "--tolerances", file]) == 2
    assert "is not what qualify writes when it finds tolerances" in capfd.readouterr().err
    assert run([*check, "--tolerances", file, "--gpu"]) == 2


def test_another_export_is_not_qualified(command, model):
    model.export_id = "f" * 32
    done = command()
    assert (done.status, done.json["passed"]) == (1, False)
    assert "export_id" in done.json["faults"][0]


def test_the_largest_request_that_is_taken_bounds_the_search(command, model):
    model.most = 8
    done = command()
    assert done.status == 0
    assert [size["batch"] for size in done.json["deviation"]] == [1, 2, 4, 8]
    assert max(point["batch"] for point in done.json["load"]["points"]) == 8
    assert any(note.startswith("Batches of 16 were refused") for note in done.json["notes"])
    assert done.json["load"]["recommendation"]["max_batch_size"] <= 8


def test_a_server_that_batches_itself_is_measured_and_told(command, model):
    model.batching = True
    done = command()
    assert done.status == 0
    assert done.json["server"]["server_batching"]
    assert not any(point["errors"] for point in done.json["load"]["points"])


def test_an_export_with_thresholds_is_asked_for_its_dense_scores(command, model, tmp_path, fake):
    model.thresholds = (0.4,) * 8
    done = command(golden=fake.publish(model, tmp_path / "bounded"))
    assert (done.status, done.json["faults"]) == (0, [])
    assert done.json["deviation"][0]["largest"] == 0


def test_other_versions_are_measured_in_turn_and_shown_as_ratios(command, server, model, fake):
    slow = fake.Model()
    slow.version, right = 2, slow.predict
    slow.predict = lambda signature, inputs: (time.sleep(0.05), right(signature, inputs))[1]
    loading = fake.Model()
    loading.version, loading.state = 3, "LOADING"
    server.models |= {2: slow, 3: loading}
    done = command(connection=("--timeout", "5"))
    ratios = done.json["load"]["versions"]
    assert {one["version"] for one in ratios} == {2}
    lone = next(one for one in ratios if (one["batch"], one["callers"]) == (1, 1))
    assert lone["examples_per_second"] < 0.5
    assert lone["p99"] > 1
    assert lone["merges"] == "unknown: its export.json was not found"
    # The version in whose directory the golden records lie, not the newest.
    assert done.json["server"]["version"] == 1


def test_the_version_of_the_golden_records_is_waited_for(command, server, model, fake):
    other = fake.Model()
    other.version = 2
    server.models[2] = other
    model.state, right = "LOADING", server.status
    asked = []

    def status(request):
        asked.append(request)
        model.state = "AVAILABLE" if len(asked) > 3 else "LOADING"
        return right(request)

    server.status = status
    done = command()
    assert (done.status, done.json["server"]["version"]) == (0, 1)


@pytest.mark.parametrize(("bound", "status"), [("60000", 0), ("0.000001", 1)])
def test_a_bound_is_kept_or_the_answer_is_no(command, bound, status):
    done = command("--p99", bound)
    assert done.status == status
    chosen = done.json["load"]["recommendation"]
    if status:
        assert chosen is None
        assert "No batch size keeps the 99th percentile at 1e-06 ms." in done.json["faults"]
    else:
        assert chosen["expected_p99_ms"] <= 60000
        assert f"--max-batch-size {chosen['max_batch_size']} " in done.page
        assert "Recommended: --max-batch-size" in done.out


def test_what_no_gpu_confirmed_says_so(command):
    done = command()
    assert not done.json["metrics"]["gpu_confirmed"]
    assert any("No GPU confirmed any of this" in note for note in done.json["notes"])
    assert "No GPU confirmed any of this" in done.page
    assert "No GPU confirmed this." in done.page


COMMAND = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from client.cli import main; main()"
PAGE = """# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="letters",status="OK"} 12
"""


def test_only_a_metric_that_counts_something_confirms_a_gpu():
    assert not metric_facts(PAGE).gpu_confirmed
    assert metric_facts(PAGE).memory_told == "The server's metrics do not report memory."
    assert not metric_facts(PAGE + ':some:metric{device="/device:GPU:0"} 0\n').gpu_confirmed
    told = metric_facts(PAGE + ':peak_bytes{allocator="GPU_0_bfc"} 1048576\n')
    assert told.gpu_confirmed
    assert told.device == "Its metrics name GPU:0."
    assert told.memory == {':peak_bytes{allocator="GPU_0_bfc"}': 1048576.0}


def test_ctrl_c_in_a_load_ends_it_and_writes_nothing(server, model, version, tmp_path):
    right, calls = model.predict, []
    model.predict = lambda signature, inputs: (calls.append(signature), right(signature, inputs))[1]
    output = tmp_path / "output"
    given = ["--address", server.address, "--model", "letters", "qualify", "--golden", str(version)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *given, "--output", str(output), "--minutes", "5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while len(calls) < 300:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert list(output.iterdir()) == []


def test_a_server_that_goes_away_is_one_sentence(command, server, model):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 200:
            server._server.stop(None)
        return right(signature, inputs)

    model.predict = predict
    done = command(connection=("--timeout", "1"))
    assert (done.status, done.files) == (3, [])
    assert "Traceback" not in done.err


def test_wrong_input_is_reported_before_any_load(command, server, tmp_path):
    assert command(golden=tmp_path / "absent").status == 2
    assert command("--minutes", "0").status == 2
    assert command("--rest", "localhost").status == 2
    assert command("--rest", "localhost:1").status == 3
    several = command(connection=("--address", f"{server.address},{server.address}"))
    assert several.status == 2
    assert "a qualification covers one server, not 2: pass one address" in several.err
    assert server.requests == []


def test_the_time_is_kept_to(server, version):
    """The clock decides when no other window is begun; a run without time ends at once, and says so."""

    def send(requests, load):
        raise AssertionError("there is no time for a load")

    with ServingClient(server.address, "letters") as client:
        found = qualify(client, send, version, seconds=1e-6, p99_ms=None, rest=None, say=lambda text: None)
    assert not found.passed
    assert found.load.points == ()
    assert "The time was up before every point was measured: pass more --minutes." in found.notes
    assert len(found.deviation) == 9
