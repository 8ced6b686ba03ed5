"""`serving-client check --rest`: REST answers as gRPC does, or the check says what differs."""

import json

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client.cli.commands import run
from client.rest.http import RestServer
from signatures.contract import names


@pytest.fixture
def check(digits_server, digits_version, capfd):
    def call(*arguments, rest=None):
        options = ["--address", f"localhost:{digits_server.port}", "--model", "digits"]
        rest = rest or f"localhost:{digits_server.rest_port}"
        status = run([*options, "check", "--golden", str(digits_version), "--rest", rest, *arguments])
        return status, *capfd.readouterr()

    return call


def test_every_signature_is_asked_over_rest(check):
    status, out, _ = check("--json")
    answer = json.loads(out)
    assert (status, answer["passed"], answer["rest"]["passed"], answer["not_asked"]) == (0, True, True, [])
    assert answer["rest"]["answers"] > 3 * 6 * 2
    status, out, _ = check()
    assert status == 0
    assert "rest" in out


def test_a_version_is_asked_by_its_number(check):
    assert check("--version", "1")[0] == 0


class Wrong(RestServer):
    """A proxy in front of a REST port, which answers something else."""

    def __init__(self, address, timeout):
        super().__init__(address, timeout)

    def post(self, target, verb, body):
        return self.spoil(verb, body, super().post(target, verb, body))

    def get(self, target, what=""):
        return self.spoil(what or "status", {}, super().get(target, what))


def swap_rows(verb, body, answer):
    if "predictions" in answer:
        answer["predictions"].reverse()
    return answer


def lose_a_class(verb, body, answer):
    for classes in answer.get("results", []):
        del classes[-1:]
    return answer


def round_scores(verb, body, answer):
    if body.get("signature_name") == names.SERVING_DEFAULT and "outputs" in answer:
        answer["outputs"] = [[round(score, 2) for score in row] for row in answer["outputs"]]
    return answer


def other_labels(verb, body, answer):
    if body.get("signature_name") == names.TOP_K and "outputs" in answer:
        answer["outputs"]["labels"] = [["x"] * len(row) for row in answer["outputs"]["labels"]]
    return answer


def other_state(verb, body, answer):
    if verb == "status":
        answer["model_version_status"][0]["state"] = "LOADING"
    return answer


def other_metadata(verb, body, answer):
    if verb == "/metadata":
        del answer["metadata"]["signature_def"]["signature_def"][names.TOP_K]
    return answer


def other_form(verb, body, answer):
    return {"answer": 1} if verb == "predict" else answer


@pytest.mark.parametrize(
    "spoil", [swap_rows, lose_a_class, round_scores, other_labels, other_state, other_metadata, other_form]
)
def test_what_rest_answers_wrongly_is_caught(check, monkeypatch, spoil):
    monkeypatch.setattr(Wrong, "spoil", staticmethod(spoil), raising=False)
    monkeypatch.setattr("client.cli.check.RestServer", Wrong)
    status, out, _ = check("--json")
    answer = json.loads(out)
    assert (status, answer["passed"], answer["rest"]["passed"]) == (1, False, False)
    assert answer["rest"]["first_fault"]["message"]
    assert all(answer[question]["passed"] for question in ("identity", "backbone", "head"))


def test_a_rest_port_that_does_not_answer_is_status_3(check):
    status, out, err = check(rest="localhost:1")
    assert (status, out) == (3, "")
    assert "localhost:1 does not answer over REST" in err


def test_as_many_rest_ports_as_addresses(check):
    status, _, err = check(rest="localhost:1,localhost:2")
    assert status == 2
    assert "--rest names 2 ports, and --address 1" in err
