import json
import re

import numpy as np
import pytest
from PIL import Image

from client.cli.commands import run
from signatures.contract import names


@pytest.fixture
def command(server, capfd):
    def call(*arguments, address=server.address, model="letters", before=()):
        status = run(["--address", address, "--model", model, "--timeout", "2", *before, *arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        return status, out, err

    return call


@pytest.fixture
def pictures(tmp_path):
    paths = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 4 + number)).astype(np.uint8)
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


@pytest.mark.parametrize(
    ("name", "key"),
    [("status", "versions"), ("metadata", "signatures"), ("info", "export_id")],
)
def test_json_is_one_object_on_stdout_and_nothing_else(command, name, key):
    status, out, err = command(name, "--json")
    assert status == 0
    assert key in json.loads(out)
    assert err == ""
    assert command(name)[0] == 0


def test_status_says_no_when_no_version_is_available(command, model):
    model.state = "LOADING"
    status, out, _ = command("status")
    assert status == 1
    assert "LOADING" in out


def test_status_asks_every_replica_and_says_no_when_one_is_down(command, server, fake):
    replica = fake.Server(fake.Model())
    address = f"{server.address},{replica.address}"
    try:
        status, out, err = command("status", "--json", address=address)
        answer = json.loads(out)
        assert (status, answer["available"], err) == (0, True, "")
        assert [one["address"] for one in answer["replicas"]] == address.split(",")
        replica.models[1].state = "LOADING"
        assert command("status", address=address)[0] == 1
    finally:
        replica.stop()
    for asked in (address, ",".join(reversed(address.split(",")))):
        status, out, _ = command("status", address=asked)
        assert status == 1
        assert "no answer" in out
        status, out, _ = command("status", "--json", address=asked)
        answer = json.loads(out)
        assert (status, answer["available"]) == (1, False)
        assert {one["address"]: bool(one["error"]) for one in answer["replicas"]} == {
            server.address: False,
            replica.address: True,
        }


def test_status_of_replicas_that_are_all_down_is_status_3(command, server, fake):
    replica = fake.Server(fake.Model())
    replica.stop()
    server.stop()
    status, out, err = command("status", "--json", address=f"{server.address},{replica.address}")
    assert (status, out) == (3, "")
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("takes_files", [True, False])
def test_predict_shows_the_kept_labels_of_each_picture(command, model, pictures, takes_files):
    model.takes_files = takes_files
    status, out, err = command("predict", *pictures, "--json")
    assert status == 0
    predictions = json.loads(out)["predictions"]
    assert [prediction["picture"] for prediction in predictions] == pictures
    for prediction in predictions:
        assert len(prediction["kept"]) == 2
        assert prediction["kept"][0]["score"] >= prediction["kept"][1]["score"]
    assert ("was resized to 4x4" in err) == (not takes_files)
    status, out, _ = command("predict", *pictures, "--k", "1")
    assert status == 0
    assert len(re.findall("█+", out)) == 3
    assert "none kept" in command("predict", pictures[0], "--k", "0")[1]


def test_predict_needs_to_know_the_preprocessing(command, model, pictures):
    model.preprocessing = None
    status, _, err = command("predict", *pictures)
    assert status == 2
    assert "--preprocessing" in err


def test_check_passes_what_is_right_and_names_what_is_wrong(command, model, version):
    status, out, _ = command("check", "--golden", str(version), "--json")
    answer = json.loads(out)
    assert status == 0
    assert answer["passed"] is True
    assert "evidence" not in answer
    model.bias = model.bias + np.float32(0.1)
    status, out, _ = command("check", "--golden", str(version), "--json")
    answer = json.loads(out)
    assert status == 1
    assert answer["passed"] is False
    assert [answer[name]["passed"] for name in ("identity", "backbone", "head")] == [True, False, True]
    assert set(answer["backbone"]) >= {"passed", "records", "near_ties", "largest_difference", "first_fault"}
    status, out, _ = command("check", "--golden", str(version))
    assert status == 1
    assert "backbone: signature serving_default, k 8 (all), record 0, entry" in out


def test_records_of_another_version_than_the_one_that_answered_are_called_that(command, server, fake, version, capfd):
    second = fake.Model(seed=1)
    second.version, second.takes_files = 2, True
    newer = fake.publish(second, version.parent)
    server.models[2], server.labels["canary"] = second, 2
    told = "these are the records of version 1, and version 2 answered; "
    for more, advice in (
        ((), "pass --version 1"),
        (("--label", "canary"), "pass --version 1 instead of --label canary"),
        (("--version", "2"), "pass the records of version 2 as --golden"),
    ):
        status, out, _ = command("check", "--golden", str(version), *more)
        assert status == 1
        assert f"{told}{advice}" in " ".join(out.split())
    assert command("check", "--golden", str(version), "--version", "1")[0] == 0
    assert command("check", "--golden", str(newer))[0] == 0
    status, out, _ = command("check", "--golden", str(newer / names.ASSETS_EXTRA / names.GOLDEN_FILE), "--version", "1")
    assert "these are the records of version 2, and version 1 answered" in " ".join(out.split())


def test_check_with_pictures_alone_asks_about_the_head_and_says_so(command, model, pictures):
    status, out, _ = command("check", *pictures)
    assert status == 0
    assert "not asked" in out
    assert "takes golden records" in " ".join(out.split())
    status, out, _ = command("check", *pictures, "--json")
    assert json.loads(out)["backbone"]["passed"] is None
    model.head = lambda dense, k, right=model.head: right(dense, k + 1)
    assert command("check", *pictures)[0] == 1


def test_check_takes_golden_records_and_pictures_together(command, version, pictures):
    status, out, _ = command("check", "--golden", str(version), *pictures, "--json")
    answer = json.loads(out)
    assert status == 0
    assert (answer["backbone"]["records"], answer["head"]["records"]) == (9, 12)


def test_check_against_another_server_and_another_version(command, server, fake, pictures):
    other = fake.Model(seed=1)
    other.version, other.takes_files = 2, True
    same = fake.Model()
    same.takes_files = True
    servers = [fake.Server(same), fake.Server(other)]
    try:
        assert command("check", *pictures, "--against", servers[0].address)[0] == 0
        status, out, _ = command("check", *pictures, "--against", servers[1].address, "--json")
        answer = json.loads(out)
        assert status == 1
        assert [answer[name]["passed"] for name in ("identity", "backbone", "head")] == [False, False, True]
    finally:
        for one in servers:
            one.stop()
    server.models[2] = other
    assert command("check", *pictures, "--against-version", "1", "--version", "2")[0] == 1
    assert command("check", *pictures, "--against-version", "2")[0] == 2
    assert command("check", *pictures, "--against", server.address)[0] == 2
    other.weights, other.bias = same.weights, same.bias
    assert command("check", *pictures, "--against-version", "1")[0] == 0


def test_each_of_several_replicas_is_checked(command, server, model, fake, version, pictures):
    other = fake.Model()
    other.takes_files, other.digest = True, model.digest
    replica = fake.Server(other)
    try:
        address = f"{server.address},{replica.address}"
        assert command("check", "--golden", str(version), address=address)[0] == 0
        other.weights = other.weights * np.float32(1.01)
        status, out, _ = command("check", "--golden", str(version), "--json", address=address)
        answer = json.loads(out)
        assert (status, answer["passed"]) == (1, False)
        assert [one["passed"] for one in answer["replicas"]] == [True, False]
        assert answer["replicas"][1]["address"] == replica.address
        status, out, _ = command("check", *pictures, "--json", address=address)
        answer = json.loads(out)
        assert [one["passed"] for one in answer["replicas"]] == [True, False]
        assert answer["replicas"][1]["backbone"]["passed"] is False
    finally:
        replica.stop()


def test_the_tolerance_can_be_widened(command, model, version):
    model.bias = model.bias + np.float32(0.001)
    assert command("check", "--golden", str(version))[0] == 1
    assert command("check", "--golden", str(version), "--atol", "0.01")[0] == 0
    assert "cannot see" in command("check", "--golden", str(version), "--gpu")[1]


@pytest.mark.parametrize(
    "arguments",
    [
        ("check",),
        ("check", "--golden", "absent"),
        ("check", "absent.png"),
        ("predict",),
        ("predict", "absent.png"),
        ("predict", "x.png", "--k", "two"),
        ("metadata", "--version", "9"),
        ("metadata", "--version", "1", "--label", "a"),
        ("nosuch",),
        ("check", "picture.png", "--rtol", "nan"),
        ("check", "picture.png", "--atol", "inf"),
        ("bench", "--signature", "nosuch"),
        ("promote", "--version", "2", "--label", "a", "--config", "absent"),
    ],
)
def test_wrong_usage_or_input_is_status_2_and_says_why(command, arguments):
    status, out, err = command(*arguments)
    assert status == 2
    assert err.strip()
    assert out == ""


def test_a_golden_file_that_is_none_is_one_sentence(command, version):
    file = version / names.ASSETS_EXTRA / names.GOLDEN_FILE
    for content in (b"", b"nonsense", file.read_bytes()[:-9], b"\x05" + b"\0" * 11 + b"abcde" + b"\0" * 4):
        file.write_bytes(content)
        status, _, err = command("check", "--golden", str(version))
        assert status == 2
        assert len(err.strip().splitlines()) == 1
    (version / names.ASSETS_EXTRA / names.EXPORT_FILE).write_text("{}")
    assert command("check", "--golden", str(version))[0] == 2


def test_an_absent_model_is_status_2(command):
    status, _, err = command("info", model="absent")
    assert status == 2
    assert "absent" in err


@pytest.mark.parametrize("name", ["status", "info", "metadata", "check", "predict", "bench"])
def test_no_server_is_status_3_in_one_sentence(command, server, version, pictures, name):
    server.stop()
    arguments = {"check": ["--golden", str(version)], "predict": pictures}.get(name, [])
    status, out, err = command(name, *arguments)
    assert status == 3
    assert out == ""
    assert len(err.strip().splitlines()) == 1


def test_options_of_the_connection_that_are_missing_are_asked_for(capfd):
    assert run(["status"]) == 2
    assert "--address HOST:PORT is missing" in capfd.readouterr().err
    assert run(["--address", "localhost:1", "status"]) == 2
    assert "--model NAME is missing" in capfd.readouterr().err
    assert run(["--address", "localhost:1", "--model", "m", "--timeout", "nan", "status"]) == 2
    assert "nan is not a finite number" in capfd.readouterr().err
    assert run(["--address", "localhost", "--model", "m", "status"]) == 2
    assert "no port" in capfd.readouterr().err


def test_options_of_the_connection_stand_before_the_command_or_after_it(server, model, version, capfd, tmp_path):
    token = tmp_path / "token"
    token.write_text("sesame")
    where, secret = ["--address", server.address], ["--token-file", str(token), "--token-over-plaintext"]
    assert run(["status", *where, "--model", "letters"]) == 0
    assert run([*where, "check", "--golden", str(version), "--model", "letters", *secret, "--timeout", "3"]) == 0
    assert server.metadata[-1]["authorization"] == "Bearer sesame"
    assert run(["--address", "localhost:1", "--model", "no", *secret, "info", *where, "--model", "letters"]) == 0
    assert server.metadata[-1]["authorization"] == "Bearer sesame"
    capfd.readouterr()
    assert run([*where, "--model", "letters", "info", "--tls"]) == 3
    assert run(["bench", *where, "--count", "2"]) == 2
    assert "--model NAME is missing" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["status", "metadata", "info", "predict", "check", "bench", "promote", "rollback"])
def test_the_help_of_each_command_says_where_the_options_of_the_connection_may_stand(name, capfd):
    assert run([name, "--help"]) == 0
    out = " ".join(capfd.readouterr().out.split())
    assert "--address, --model, --timeout and the other connection options may also follow the command" in out


def test_the_version_of_the_program_and_the_version_of_a_model_are_two_things(command, model, server, fake, capfd):
    assert run(["--version"]) == 0
    assert re.fullmatch(r"serving-client \d+\.\d+\.\d+\S*\n", capfd.readouterr().out)
    second = fake.Model(seed=1)
    second.version = 2
    server.models[2] = second
    status, out, _ = command("info", "--version", "1", "--json")
    assert (status, json.loads(out)["export_id"]) == (0, model.export_id)


def test_a_token_is_sent_from_a_file_and_not_over_plaintext(command, server, tmp_path):
    file = tmp_path / "token"
    file.write_text("sesame\n")
    status, _, err = command("info", before=("--token-file", str(file)))
    assert status == 2
    assert "plaintext" in err
    assert command("info", before=("--token-file", str(file), "--token-over-plaintext"))[0] == 0
    assert server.metadata[-1]["authorization"] == "Bearer sesame"


def test_a_report_that_cannot_be_written_is_status_4(command, version, tmp_path):
    status, _, err = command("check", "--golden", str(version), "--report", str(tmp_path / "absent" / "page.html"))
    assert status == 4
    assert "absent" in err


def test_a_score_that_is_not_a_number_is_shown(command, model, pictures):
    model.dense = lambda images: np.full((len(images), 8), np.nan, np.float32)
    status, out, _ = command("predict", pictures[0])
    assert status == 0
    assert "nan" in out
    status, out, _ = command("predict", pictures[0], "--json")
    assert (status, json.loads(out)["predictions"][0]["kept"][0]["score"]) == (0, None)
