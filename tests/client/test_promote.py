import io
import json
import re

import pytest

from client import InputError, ServingClient
from client.cli.commands import run
from client.promotion.models_config import labeled_versions, with_label, write_atomically
from client.promotion.move import PromoteError, carry_out, plan, previous_version, version_directory

CONFIG = """# Served by three replicas.
model_config_list {
  config {
    name: "other"
    base_path: "/models/other"
    version_labels { key: "stable" value: 7 }
  }
  config: {
    name: 'letters'   # the one that matters
    base_path: "BASE"
    model_platform: "tensorflow"
    model_version_policy { specific { versions: [1, 2] } }
    version_labels {
      key: "stable"  # what users ask for
      value: 1
    }
    version_labels < key: "canary", value: 2 >
  }
}
"""


@pytest.fixture
def replicas(fake, tmp_path):
    """Two servers with versions 1 and 2, and the file that they were started with."""
    base = tmp_path / "letters"
    models = []
    for number, seed in ((1, 0), (2, 1)):
        model = fake.Model(seed)
        model.version = number
        fake.publish(model, base)
        models.append(model)
    config = tmp_path / "models.config"
    config.write_text(CONFIG.replace("BASE", str(base)))
    servers = []
    for _ in range(2):
        server = fake.Server(models[0])
        server.models = {model.version: model for model in models}
        server.labels = {"stable": 1, "canary": 2}
        servers.append(server)
    yield servers, config
    for server in servers:
        server.stop()


@pytest.fixture
def command(replicas, capfd):
    servers, config = replicas

    def call(*arguments):
        addresses = ",".join(server.address for server in servers)
        status = run(
            ["--address", addresses, "--model", "letters", "--timeout", "3", *arguments, "--config", str(config)]
        )
        out, err = capfd.readouterr()
        return status, out, err

    return call


def labels(servers):
    return [server.labels["stable"] for server in servers]


def test_promoting_a_good_version_moves_the_label_in_the_file_and_on_every_replica(replicas, command):
    servers, config = replicas
    before = config.read_text()
    status, out, _ = command("promote", "--version", "2", "--label", "stable", "--yes", "--json")
    assert status == 0
    answer = json.loads(out)
    assert (answer["moved"], answer["from"], answer["to"]) == (True, 1, 2)
    assert labels(servers) == [2, 2]
    assert config.read_text() == before.replace("value: 1\n", "value: 2\n")


def test_rollback_goes_back_to_the_version_before_and_forth_again(replicas, command):
    servers, config = replicas
    before = config.read_text()
    status, _, err = command("rollback", "--label", "stable", "--yes")
    assert status == 1
    assert "nothing to go back to: no promote was finished yet" in err
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert labels(servers) == [1, 1]
    assert config.read_text() == before
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert labels(servers) == [2, 2]


def test_a_rollback_of_a_label_that_was_not_moved_last_moves_nothing_and_says_so(replicas, command):
    servers, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    assert command("promote", "--version", "1", "--label", "canary", "--yes")[0] == 0
    before = config.read_text()
    status, out, err = command("rollback", "--label", "stable", "--yes", "--json")
    assert (status, out) == (1, "")
    assert "nothing to go back to: the last move was of label canary of model letters, from version 2 to" in err
    assert "promote --label stable" in err
    assert (labels(servers), config.read_text()) == ([2, 2], before)
    assert command("rollback", "--label", "canary", "--yes")[0] == 0
    assert servers[0].labels == {"stable": 2, "canary": 2}


def test_a_rollback_after_the_file_was_moved_on_by_hand_moves_nothing(replicas, command):
    _, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    config.write_text(with_label(config.read_text(), "letters", "stable", 3))
    status, _, err = command("rollback", "--label", "stable", "--yes")
    assert status == 1
    assert "took it to version 2, and it is on version 3 now" in err


def test_a_promote_to_the_version_that_a_label_has_does_not_say_that_it_moved(replicas, command):
    servers, _ = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    status, out, err = command("promote", "--version", "2", "--label", "stable", "--yes", "--json")
    assert (status, json.loads(out)["moved"]) == (0, False)
    assert "is on version 2 already" in err
    assert "was on version 2 already" in command("promote", "--version", "2", "--label", "stable", "--yes")[1]
    assert command("rollback", "--label", "stable", "--yes")[0] == 0
    assert labels(servers) == [1, 1]


def test_a_mistyped_label_is_not_created(replicas, command):
    servers, config = replicas
    before = config.read_text()
    status, _, err = command("promote", "--version", "2", "--label", "stabel", "--yes")
    assert status == 2
    assert "no label stabel" in err
    assert "canary, stable" in err
    assert "--create-label" in err
    status, _, err = command("rollback", "--label", "stabel", "--yes")
    assert status == 2
    assert "only canary, stable" in err
    assert (servers[0].labels, config.read_text()) == ({"stable": 1, "canary": 2}, before)
    assert command("promote", "--version", "2", "--label", "beta", "--yes", "--create-label")[0] == 0
    assert servers[0].labels["beta"] == 2
    status, _, err = command("rollback", "--label", "beta", "--yes")
    assert status == 1
    assert "the label beta was new" in err


@pytest.mark.parametrize("stdin", [io.StringIO("y\n"), None])
def test_without_a_terminal_and_without_yes_it_says_what_to_pass(replicas, command, monkeypatch, stdin):
    monkeypatch.setattr("sys.stdin", stdin)
    servers, config = replicas
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
    before = config.read_text()
    for name in (("promote", "--version", "1"), ("rollback",)):
        status, out, err = command(*name, "--label", "stable")
        assert (status, out) == (2, "")
        assert "pass --yes" in err
    assert (labels(servers), config.read_text()) == ([2, 2], before)


def test_a_promote_says_what_the_check_found_and_could_not_ask(replicas, command):
    servers, _ = replicas
    model = servers[0].models[2]
    stated = model.declared()
    stated["embed"] = {**stated["top_k"], "outputs": {"embedding": stated["top_k"]["outputs"]["scores"]}}
    model.declared = lambda: stated
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 0
    assert f"{servers[0].address}: What is served is what was expected, by " in err
    assert "Not asked: embed." in err


def test_a_version_that_fails_its_check_changes_nothing(replicas, command):
    servers, config = replicas
    before = config.read_text()
    servers[1].models[2].weights = servers[1].models[2].weights * 1.01
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 1
    assert "Nothing was changed" in err
    assert (labels(servers), config.read_text()) == ([1, 1], before)


def test_a_version_that_is_not_loaded_everywhere_changes_nothing(replicas, command):
    servers, config = replicas
    before = config.read_text()
    servers[1].models = {1: servers[1].models[1]}
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 1
    assert f"version 2 is not loaded at {servers[1].address}" in err
    assert (labels(servers), config.read_text()) == ([1, 1], before)


def test_a_replica_that_refuses_has_all_put_back(replicas, command, fake):
    servers, config = replicas
    before = config.read_text()
    right = servers[1].reload

    def reload(data):
        if b"stable\x10\x02" in data:
            raise fake.Error(fake.INTERNAL, "no room")
        return right(data)

    servers[1].reload = reload
    status, _, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 1
    assert "no room" in err
    assert "as they were" in err
    assert (labels(servers), config.read_text()) == ([1, 1], before)
    assert [path.name for path in config.parent.glob("*models.config*")] == ["models.config"]


def test_a_replica_that_keeps_the_old_version_has_all_put_back(replicas):
    servers, config = replicas
    before = config.read_text()
    right = servers[0].reload
    servers[0].reload = lambda data: right(data.replace(b"stable\x10\x02", b"stable\x10\x01"))
    move = plan(config, "letters", "stable", 2)
    refused = pytest.raises(PromoteError, match="version 1 answers to the label stable")
    with ServingClient(servers[0].address, "letters") as client, refused:
        carry_out([client], move, patience=0)
    assert (labels(servers), config.read_text()) == ([1, 1], before)


class KilledError(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("calls_before_death", [0, 1, 2, 3])
@pytest.mark.parametrize("good", [True, False])
def test_a_second_run_finishes_or_undoes_what_a_killed_one_left(
    replicas, command, monkeypatch, calls_before_death, good
):
    servers, config = replicas
    before = config.read_text()
    calls = []
    right = ServingClient.run

    def run_until_death(self, *arguments):
        calls.append(1)
        if len(calls) > calls_before_death:
            raise KilledError
        return right(self, *arguments)

    clients = [ServingClient(server.address, "letters", timeout=3) for server in servers]
    with monkeypatch.context() as patch:
        patch.setattr(ServingClient, "run", run_until_death)
        with pytest.raises(KilledError):
            carry_out(clients, plan(config, "letters", "stable", 2))
    for client in clients:
        client.close()
    if good:
        assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 0
        assert (labels(servers), config.read_text()) == ([2, 2], before.replace("value: 1\n", "value: 2\n"))
        assert previous_version(config, "letters", "stable") == 1
    else:
        assert command("rollback", "--label", "stable", "--yes")[0] == 0
        assert (labels(servers), config.read_text()) == ([1, 1], before)


def test_edits_made_after_a_move_was_cut_off_are_not_lost(replicas, command):
    servers, config = replicas
    before = config.read_text()
    config.with_name("models.config.promoting").write_text(before)
    edited = before.replace("/models/other", "/models/elsewhere")
    config.write_text(edited)
    for name in (("promote", "--version", "2"), ("rollback",)):
        status, _, err = command(*name, "--label", "stable", "--yes")
        assert status == 2
        assert "was changed since" in err
        assert (labels(servers), config.read_text()) == ([1, 1], edited)


def test_edits_made_while_a_version_is_checked_are_not_lost(replicas):
    servers, config = replicas
    move = plan(config, "letters", "stable", 2)
    edited = config.read_text() + "# a note\n"
    config.write_text(edited)
    with ServingClient(servers[0].address, "letters") as client, pytest.raises(InputError, match="was changed while"):
        carry_out([client], move)
    assert (labels(servers), config.read_text()) == ([1, 1], edited)


def test_a_replica_that_is_away_is_status_3_and_changes_nothing(replicas, command):
    servers, config = replicas
    before = config.read_text()
    servers[1].stop()
    assert command("promote", "--version", "2", "--label", "stable", "--yes")[0] == 3
    assert (labels(servers), config.read_text()) == ([1, 1], before)


class Terminal(io.StringIO):
    """What a person types."""

    def isatty(self):
        return True


@pytest.mark.parametrize(("typed", "status"), [("n\n", 1), ("y\n", 0), ("", 130)])
def test_it_says_what_it_will_do_and_asks(replicas, command, monkeypatch, typed, status):
    servers, config = replicas
    monkeypatch.setattr("sys.stdin", Terminal(typed))
    found, _, err = command("promote", "--version", "2", "--label", "stable")
    assert found == status
    assert "from version 1 to version 2" in err
    assert servers[0].address in err
    assert servers[1].address in err
    moved = 2 if status == 0 else 1
    assert (labels(servers), labeled_versions(config.read_text(), "letters")["stable"]) == ([moved, moved], moved)


def test_it_says_that_a_label_is_new_before_it_asks(replicas, command, monkeypatch):
    _, config = replicas
    before = config.read_text()
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    status, _, err = command("promote", "--version", "2", "--label", "stabel")
    assert status == 1
    assert "stabel of model letters does not exist yet (there are canary, stable)" in err
    assert config.read_text() == before


def test_golden_records_are_found_beside_the_file_where_the_base_path_is_the_servers(fake, tmp_path):
    model = fake.Model()
    version = fake.publish(model, tmp_path / "letters")
    config = tmp_path / "deploy" / "models.config"
    config.parent.mkdir()
    config.write_text(CONFIG.replace("BASE", "/models/letters"))
    assert version_directory(plan(config, "letters", "stable", 1)) == version
    config.write_text(CONFIG.replace("BASE", str(tmp_path / "letters")))
    assert version_directory(plan(config, "letters", "stable", 1)) == version


def test_a_label_that_is_new_is_added_in_the_layout_of_the_file():
    changed = with_label(CONFIG, "letters", "beta", 2)
    assert labeled_versions(changed, "letters")["beta"] == 2
    assert '\n    version_labels { key: "beta" value: 2 }\n' in changed
    assert changed.replace('\n    version_labels { key: "beta" value: 2 }', "") == CONFIG


@pytest.mark.parametrize(
    "text",
    [
        'model_config_list{config{name:"letters"version_labels{key:"stable"value:1}}}',
        'model_config_list { config { name: "letters" } }',
        "model_config_list: { config: [ { name: 'other' }, { name: 'letters', base_path: '/m' } ] }",
        'model_config_list{config{name: "letters" version_labels: [{key: "a" value: 3}, {key: "stable" value: 1}]}}',
    ],
)
def test_any_layout_is_changed_rightly(text):
    assert labeled_versions(with_label(text, "letters", "stable", 5), "letters")["stable"] == 5


def test_a_layout_that_is_not_understood_is_refused():
    with pytest.raises(InputError, match="cannot be changed"):
        with_label('model_config_list { config < name: "let" "ters" > }', "letters", "stable", 5)


def test_a_file_without_the_model_or_that_is_none_is_refused():
    with pytest.raises(InputError, match="no model absent"):
        with_label(CONFIG, "absent", "stable", 2)
    with pytest.raises(InputError, match=re.escape("not a models.config")):
        labeled_versions("model_config_list { nosuch: 1 }", "letters")


def test_a_file_is_replaced_as_a_whole_and_keeps_its_permissions(tmp_path):
    file, link = tmp_path / "models.config", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    write_atomically(link, b"new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "models.config"]
