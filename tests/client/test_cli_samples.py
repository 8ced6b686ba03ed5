"""`predict`, `bench` and `check` with samples of every kind."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from client import Recorder, ServingClient
from client.cli.commands import run
from signatures.contract import names


@pytest.fixture
def command(server, capfd):
    def call(*arguments):
        status = run(["--address", server.address, "--model", "letters", "--timeout", "5", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call


@pytest.fixture
def images():
    return np.random.default_rng(0).random((5, 4, 4, 1)).astype(np.float32)


@pytest.fixture
def arrays(images, tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, images=images)
    return path


@pytest.fixture
def lines(images):
    return "".join(
        json.dumps({names.IMAGES: image.tolist(), names.K: 1 + row}) + "\n" for row, image in enumerate(images)
    )


@pytest.fixture
def traffic(server, images, tmp_path):
    """Recorded requests of two signatures, and of one to three examples."""
    path = tmp_path / "traffic.tfrecord"
    with Recorder(path) as record, ServingClient(server.address, "letters", record=record) as client:
        client.predict(images[:1])
        client.predict(images[:2], k=[3, 1], signature=names.TOP_K)
        client.predict(images[:3], k=1)
    server.requests.clear()
    return path


def kept(out):
    return [[one["index"] for one in prediction["kept"]] for prediction in json.loads(out)["predictions"]]


def test_predict_shows_what_is_kept_of_each_row(command, model, arrays, images):
    status, out, err = command("predict", arrays, "--k", "3", "--json")
    assert (status, err) == (0, "")
    assert kept(out) == [model.order(row)[:3].tolist() for row in model.dense(images)]
    assert json.loads(out)["predictions"][4]["source"] == f"{arrays}, row 4"


def test_predict_reads_json_lines_on_standard_input_with_a_k_of_each(command, lines, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
    status, out, _ = command("predict", "-", "--json")
    assert status == 0
    assert [len(row) for row in kept(out)] == [1, 2, 3, 4, 5]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(lines.encode())))
    assert [len(row) for row in kept(command("predict", "-", "--k", "2", "--json")[1])] == [2] * 5


def test_predict_sends_golden_records_and_recorded_requests(command, version, traffic):
    status, out, _ = command("predict", "--golden", version)
    assert status == 0
    assert "record 1" in out
    status, out, _ = command("predict", traffic, "--json")
    assert (status, [len(row) for row in kept(out)]) == (0, [2, 3, 1, 1, 1, 1])


def test_predict_asks_for_the_vector_where_nothing_else_was_exported(command, model, arrays, images):
    model.keys = ()
    status, out, _ = command("predict", arrays, "--json")
    assert status == 0
    assert kept(out) == [model.order(row)[:2].tolist() for row in model.dense(images)]
    assert json.loads(out)["predictions"][0]["kept"][0]["label"] in model.labels


@pytest.mark.parametrize("name", ["predict", "check"])
def test_nothing_to_send_is_wrong_usage(command, name):
    status, out, err = command(name)
    assert (status, out) == (2, "")
    assert "--golden PATH" in err


def test_a_file_that_is_absent_is_one_sentence(command, tmp_path):
    for arguments in (("predict", tmp_path / "a.npz"), ("bench", tmp_path / "a.npz"), ("bench", "--golden", tmp_path)):
        status, out, err = command(*arguments)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert "cannot be read" in err


def test_check_sends_samples_of_any_kind(command, model, arrays):
    assert command("check", arrays)[0] == 0
    right = model.head
    model.head = lambda dense, k: right(dense, k + 1)
    assert command("check", arrays)[0] == 1


def bench(command, *arguments):
    return command("bench", "--warmup", "0", "--count", "12", "--json", *arguments)


def test_bench_sends_every_sample_in_turn(command, server, arrays, images):
    status, out, _ = bench(command, arrays, "--batch", "2", "--k", "1,3")
    assert status == 0
    assert (json.loads(out)["inputs"], json.loads(out)["batch"]) == ("samples", 2)
    sent = [request for request in server.requests if names.IMAGES in request.inputs]
    assert {len(request.inputs[names.IMAGES]) for request in sent} == {2}
    assert {tuple(request.inputs[names.K]) for request in sent} == {(1, 1), (3, 3)}
    rows = {image.tobytes() for request in sent for image in request.inputs[names.IMAGES]}
    assert rows == {image.tobytes() for image in images}


def test_bench_sends_recorded_requests_as_they_were(command, server, traffic):
    status, out, _ = bench(command, traffic)
    answer = json.loads(out)
    assert (status, answer["inputs"], answer["signature"]) == (0, "recorded", "as recorded")
    assert {(request.signature, len(request.inputs[names.IMAGES])) for request in server.requests} == {
        (names.SERVING_DEFAULT, 1),
        (names.TOP_K, 2),
        (names.SERVING_DEFAULT, 3),
    }
    (result,) = answer["results"]
    assert result["examples_per_second"] == pytest.approx(2 * result["calls_per_second"])
    server.requests.clear()
    assert bench(command, traffic, "--signature", names.TOP_K)[0] == 0
    sent = [request for request in server.requests if request.signature != names.EXPORT_INFO]
    assert {(request.signature, len(request.inputs[names.IMAGES])) for request in sent} == {(names.TOP_K, 1)}


def test_bench_sends_k_to_a_server_that_batches(command, server, model, arrays):
    model.batching = True
    for arguments in ((), (arrays,), ("--batch", "3")):
        status, out, _ = bench(command, *arguments)
        assert status == 0
        assert json.loads(out)["k"] == []
        assert server.requests[-1].inputs[names.K].tolist() == [2] * (3 if "--batch" in arguments else 1)


def test_bench_sends_the_classify_api(command, model):
    model.takes_files = True
    status, out, _ = bench(command, "--signature", names.CLASSIFY, "--k", "2")
    assert (status, json.loads(out)["results"][0]["errors"]) == (0, {})


def test_bench_takes_samples_or_random_ones(command, arrays):
    status, _, err = bench(command, arrays, "--random")
    assert status == 2
    assert "not both" in err


def test_what_takes_too_much_memory_is_left_out_and_said(command, arrays, server, monkeypatch):
    monkeypatch.setattr("client.bench.requests.MOST_BYTES", 300)
    status, _, err = bench(command, arrays)
    assert status == 0
    assert "The first 2 requests are sent in turn" in err
    assert (
        len({request.inputs[names.IMAGES].tobytes() for request in server.requests if names.IMAGES in request.inputs})
        == 2
    )


def test_info_is_short_with_many_labels(command, model):
    model.labels = tuple(f"label {number}" for number in range(3000))
    _, out, _ = command("info")
    assert len(out) < 2000
    assert "3000: label 0, " in out
    assert "and 2988 more, which --labels lists" in out
    assert command("info", "--labels")[1].splitlines() == list(model.labels)
    assert json.loads(command("info", "--json")[1])["labels"] == list(model.labels)


def test_nothing_is_cut_at_80_columns_in_a_pipe(command, model):
    model.export_id = "x" * 200
    assert model.export_id in command("info")[1]


def test_info_shows_where_a_version_comes_from(command, model, version):
    file = version / names.ASSETS_EXTRA / names.EXPORT_FILE
    record = json.loads(file.read_text()) | {"git_commit": "c" * 40, "metadata": {"run": "night 7"}}
    file.write_text(json.dumps(record))
    status, out, _ = command("info", "--golden", version)
    assert status == 0
    assert "c" * 40 in out
    assert "night 7" in out
    origin = json.loads(command("info", "--golden", version, "--json")[1])["origin"]
    assert (origin["git_commit"], origin["metadata"]) == ("c" * 40, {"run": "night 7"})
    model.export_id = "f" * 32
    status, out, err = command("info", "--golden", version)
    assert (status, out) == (2, "")
    assert "is served" in err
