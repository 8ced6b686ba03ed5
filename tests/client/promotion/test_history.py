"""What was moved is written down, and a rollback goes by it."""

import json
import socket
import threading

import pytest

from client import InputError, ServingClient
from client.promotion import history
from client.promotion.history import Entry, history_file, read_history, trail
from client.promotion.models_config import labeled_versions, with_label
from client.promotion.move import carry_out, entry_of
from client.promotion.plan import plan, plan_back
from signatures.contract.locks import locked_directory


def in_file(config, model="letters"):
    return labeled_versions(config.read_text(), model)


def lines(config):
    return [json.loads(line) for line in history_file(config).read_text().splitlines()]


def test_a_move_is_one_line_that_says_who_what_when_and_why(command, replicas):
    servers, config = replicas
    assert command("history", "--json")[1] == '{"history": []}\n'
    assert "has no moves like that" in command("history")[1]
    promote = ("promote", "--version", "2", "--label", "stable", "--yes", "--message", "ticket 12")
    assert command(*promote)[0] == 0
    (line,) = lines(config)
    assert (line["command"], line["model"], line["label"], line["from"], line["to"]) == (
        *("promote", "letters", "stable"),
        *(1, 2),
    )
    assert (line["outcome"], line["message"], line["file"]) == ("moved", "ticket 12", "models.config")
    assert line["replicas"] == [server.address for server in servers]
    assert line["verdict"].startswith("What is served is what was expected")
    assert line["user"] == history.user()
    assert line["host"] == socket.gethostname()
    assert line["time"] <= line["finished"]
    assert json.loads(command("history", "--json")[1])["history"] == [line]
    assert command("history", "--label", "canary", "--json")[1] == '{"history": []}\n'
    assert "ticket 12" in command("history")[1]
    assert command("history", "--json", model="other")[1] == '{"history": []}\n'


def test_what_was_refused_is_no_move(command, replicas):
    servers, config = replicas
    servers[1].models[2].weights = servers[1].models[2].weights * 1.01
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 1
    assert read_history(config) == ()


@pytest.mark.usefixtures("one_refuses")
def test_a_move_that_was_put_back_says_why(command, replicas):
    _, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 1
    (line,) = lines(config)
    assert (line["outcome"], "no room" in line["error"]) == ("put back", True)
    assert command("rollback", "--label", "stable", "--yes")[0] == 1


def test_a_rollback_undoes_the_last_move_of_this_label_whatever_other_labels_did(command, replicas):
    servers, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert command("promote", "--version", "1", "--label", "canary", "--yes")[0] == 0
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert [server.labels for server in servers] == [{"stable": 1, "canary": 1}] * 2
    assert in_file(config) == {"stable": 1, "canary": 1}


def test_a_rollback_undoes_the_last_move_of_this_model_whatever_other_models_did(command, replicas):
    servers, config = replicas
    golden = ("--golden", str(config.parent / "letters" / "2"))
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert command("promote", "--version", "2", "--label", "stable", "--yes", *golden, model="other")[0] == 0
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert (in_file(config)["stable"], in_file(config, "other")["stable"]) == (1, 2)
    assert [(server.labels["stable"], server.others["other"]["stable"]) for server in servers] == [(1, 2)] * 2


@pytest.fixture
def third(fake, replicas):
    """A third version, published and loaded."""
    servers, config = replicas
    model = fake.Model(3)
    model.version = 3
    fake.publish(model, config.parent / "letters")
    for server in servers:
        server.models[3] = model


@pytest.mark.usefixtures("third")
def test_a_second_rollback_goes_further_back_and_none_goes_forward(command, replicas):
    _, config = replicas
    before = config.read_text()
    for version in ("2", "3"):
        assert command("promote", "--version", version, "--label", "stable", "--yes")[0] == 0
    for version in (2, 1):
        assert command("rollback", "--label", "stable", "--yes")[0] == 0
        assert in_file(config)["stable"] == version
    status, out, err = command("rollback", "--label", "stable", "--yes", "--json")
    assert (status, out) == (1, "")
    assert "nothing to go back to" in err
    assert "promote --label stable" in err
    assert config.read_text() == before


def test_a_label_that_no_promote_moved_or_that_was_new_has_nothing_to_go_back_to(command):
    status, _, err = command("rollback", "--label", "stable", "--yes")
    assert status == 1
    assert "no promote of this label was finished" in err
    assert command("promote", "--version", "2", "--label", "beta", "--yes", "--create-label")[0] == 0
    status, _, err = command("rollback", "--label", "beta", "--yes")
    assert status == 1
    assert "the label beta was new" in err


def test_a_label_that_was_moved_by_hand_goes_back_to_what_was_promoted(command, replicas):
    _, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    config.write_text(with_label(config.read_text(), "letters", "stable", 3))
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert in_file(config)["stable"] == 2


def test_a_label_that_was_put_back_by_hand_does_not_go_forward_again(command, replicas):
    _, config = replicas
    before = config.read_text()
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    config.write_text(before)
    assert command("rollback", "--label", "stable", "--yes")[0] == 1
    assert config.read_text() == before


def entry(command, old, new, outcome="moved"):
    where = {"time": "", "user": "", "host": "", "file": "", "model": "", "label": ""}
    return Entry(command=command, old=old, new=new, outcome=outcome, **where)


@pytest.mark.parametrize(
    ("moves", "current", "expected"),
    [
        ([], 1, [1]),
        ([("promote", 1, 2), ("promote", 2, 1)], 1, [1, 2, 1]),
        ([("promote", 1, 2), ("promote", 2, 1), ("rollback", 1, 2)], 2, [1, 2]),
        ([("promote", 1, 2), ("promote", 2, 3, "put back")], 2, [1, 2]),
        ([("promote", 1, 2), ("promote", 2, 3, "cut off")], 2, [1, 2]),
        ([("promote", None, 2), ("promote", 2, 3)], 3, [2, 3]),
        ([("promote", 1, 2), ("promote", 5, 6)], 6, [1, 2, 5, 6]),
        ([("promote", 1, 2), ("promote", 2, 3), ("promote", 2, 4)], 4, [1, 2, 4]),
        ([("promote", 1, 2), ("rollback", 5, 2)], 2, [1, 2]),
    ],
)
def test_the_trail_of_a_label(moves, current, expected):
    assert trail([entry(*move) for move in moves], current) == expected


class KilledError(BaseException):
    """Stands for the death of the process."""


def killed(replicas, monkeypatch, move, calls_before_death):
    """Make a move with a process that dies before one of its calls, or, if they are all made, before the end."""
    calls = []
    right = ServingClient.run

    def run_until_death(self, *arguments):
        calls.append(1)
        if len(calls) > calls_before_death:
            raise KilledError
        return right(self, *arguments)

    def die(*_):
        raise KilledError

    clients = [ServingClient(server.address, "letters", timeout=3) for server in replicas[0]]
    with monkeypatch.context() as patch:
        patch.setattr(ServingClient, "run", run_until_death)
        patch.setattr(history, "end", die)
        with pytest.raises(KilledError):
            carry_out(clients, move, entry_of(move, clients))
    for client in clients:
        client.close()


DEATHS = pytest.mark.parametrize("calls_before_death", range(5))


@DEATHS
def test_the_same_promote_finishes_what_a_killed_one_left(replicas, command, monkeypatch, calls_before_death):
    servers, config = replicas
    before = config.read_text()
    killed(replicas, monkeypatch, plan(config, "letters", "stable", 2), calls_before_death)
    assert "was not finished" in command("history")[1]
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 0
    assert "was cut off: it is finished" in err
    assert config.read_text() == before.replace("value: 1\n    }\n    v", "value: 2\n    }\n    v")
    assert [server.labels["stable"] for server in servers] == [2, 2]
    assert [line["outcome"] for line in lines(config)] == ["moved"]
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert config.read_text() == before


@DEATHS
def test_a_rollback_goes_back_on_what_a_killed_promote_left(replicas, command, monkeypatch, calls_before_death):
    servers, config = replicas
    before = config.read_text()
    killed(replicas, monkeypatch, plan(config, "letters", "stable", 2), calls_before_death)
    status, _, err = command("rollback", "--label", "stable", "--yes")
    assert status == 0
    assert "was cut off: it is put back" in err
    assert (config.read_text(), [server.labels["stable"] for server in servers]) == (before, [1, 1])
    assert [line["outcome"] for line in lines(config)] == ["cut off"]
    assert command("rollback", "--label", "stable", "--yes")[0] == 1


@DEATHS
def test_a_rollback_finishes_what_a_killed_one_left(replicas, command, monkeypatch, calls_before_death):
    servers, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    killed(replicas, monkeypatch, plan_back(config, "letters", "stable"), calls_before_death)
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert (in_file(config)["stable"], [server.labels["stable"] for server in servers]) == (1, [1, 1])
    assert [line["outcome"] for line in lines(config)] == ["moved", "moved"]
    assert command("rollback", "--label", "stable", "--yes")[0] == 1


@DEATHS
def test_a_move_of_another_label_first_puts_back_what_a_killed_one_left(
    replicas, command, monkeypatch, calls_before_death
):
    servers, config = replicas
    killed(replicas, monkeypatch, plan(config, "letters", "beta", 2), calls_before_death)
    assert command("promote", "--version", "1", "--label", "canary", "--yes")[0] == 0
    assert [server.labels for server in servers] == [{"stable": 1, "canary": 1}] * 2
    assert [line["outcome"] for line in lines(config)] == ["cut off", "moved"]


def test_what_others_wrote_after_a_move_was_cut_off_is_kept(replicas, command, monkeypatch):
    servers, config = replicas
    killed(replicas, monkeypatch, plan(config, "letters", "stable", 2), 4)
    edited = config.read_text().replace("/models/other", "/models/elsewhere")
    config.write_text(edited)
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert "/models/elsewhere" in config.read_text()
    assert (in_file(config)["stable"], [server.labels["stable"] for server in servers]) == (1, [1, 1])


@pytest.mark.usefixtures("third")
def test_a_label_that_others_moved_after_a_move_was_cut_off_stays_there(replicas, command, monkeypatch):
    servers, config = replicas
    killed(replicas, monkeypatch, plan(config, "letters", "canary", 1), 2)
    config.write_text(with_label(config.read_text(), "letters", "canary", 3))
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert in_file(config) == {"stable": 2, "canary": 3}
    assert servers[0].labels == {"stable": 2, "canary": 3}


def test_what_another_program_writes_while_a_label_moves_is_kept_and_the_label_put_back(replicas, command):
    servers, config = replicas
    right = servers[1].reload

    def reload(data):
        if b"stable\x10\x02" in data:
            config.write_text(config.read_text() + "# a note\n")
        return right(data)

    servers[1].reload = reload
    before = config.read_text()
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 1
    assert "changed by another program" in err
    assert config.read_text() == before + "# a note\n"
    assert [server.labels["stable"] for server in servers] == [1, 1]


def test_ctrl_c_puts_the_label_back(replicas, command, monkeypatch):
    servers, config = replicas
    before = config.read_text()
    right, calls = ServingClient.reload, []

    def interrupted(self, text):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return right(self, text)

    monkeypatch.setattr(ServingClient, "reload", interrupted)
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 130
    assert (config.read_text(), [server.labels["stable"] for server in servers]) == (before, [1, 1])
    assert lines(config)[0]["outcome"] == "put back"


def test_two_promotions_at_once_are_kept_apart(replicas, command):
    _, config = replicas
    before = config.read_text()
    with locked_directory(config.parent):
        for name in (("promote", "--version", "2"), ("rollback",)):
            status, out, err = command(*name, "--label", "stable", "--yes")
            assert (status, out) == (1, "")
            assert "another promotion, rollback or export is changing" in err
    assert config.read_text() == before


def test_of_two_promotions_that_were_planned_together_one_is_made(replicas):
    servers, config = replicas
    moves = [plan(config, "letters", label, version) for label, version in (("stable", 2), ("canary", 1))]
    made, together = [], threading.Barrier(2)

    def make(move):
        clients = [ServingClient(server.address, "letters", timeout=3) for server in servers]
        together.wait()
        try:
            carry_out(clients, move, entry_of(move, clients))
            made.append(move.label)
        except Exception as error:
            made.append(type(error).__name__)
        for client in clients:
            client.close()

    threads = [threading.Thread(target=make, args=(move,)) for move in moves]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    won = {"stable", "canary"} & set(made)
    assert len(won) == 1
    assert [server.labels for server in servers] == [in_file(config)] * 2
    assert [line["label"] for line in lines(config)] == list(won)


@pytest.mark.parametrize("torn", ["", '{"time": "2026', None])
def test_a_line_that_a_crash_tore_is_no_move_or_one_without_an_end(replicas, command, monkeypatch, torn):
    _, config = replicas
    file = history_file(config)
    assert command("promote", "--version", "1", "--label", "canary", "--yes")[0] == 0
    whole = file.read_text()
    if torn is None:
        killed(replicas, monkeypatch, plan(config, "letters", "stable", 2), 2)
        torn = file.read_text()[len(whole) :] + '"moved", "fin'
    file.write_text(whole + torn)
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert [(line["label"], line["outcome"]) for line in lines(config)] == [("canary", "moved"), ("stable", "moved")]


def test_a_last_line_that_lost_its_newline_is_still_a_line(replicas, command):
    _, config = replicas
    file = history_file(config)
    assert command("promote", "--version", "1", "--label", "canary", "--yes")[0] == 0
    file.write_text(file.read_text().rstrip())
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert [line["label"] for line in lines(config)] == ["canary", "stable"]


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"time": 1}'])
def test_a_history_that_was_damaged_is_named_with_its_line(replicas, command, line):
    _, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    file = history_file(config)
    file.write_text(f"{file.read_text()}{line}\n")
    for name in (("history",), ("rollback", "--label", "stable", "--yes")):
        status, _, err = command(*name)
        assert status == 2
        assert "history.jsonl, line 2 is not what promote writes" in err


def test_words_in_a_message_do_not_confuse_the_reader(replicas, command):
    _, config = replicas
    said = 'a "quote", "outcome": null}\n{"new": "line"}'
    assert command("promote", "--version", "2", "--label", "stable", "--yes", "--message", said)[0] == 0
    assert [entry.message for entry in read_history(config)] == [said]


def test_without_a_folder_it_is_wrong_input(tmp_path):
    with pytest.raises(InputError, match="there is no directory"):
        plan(tmp_path / "absent" / "models.config", "letters", "stable", 2)
