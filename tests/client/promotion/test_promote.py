import io
import json
import os
import re

import pytest

from client import InputError, ServingClient
from client.promotion.models_config import labeled_versions, replace_text, with_label, without_label
from client.promotion.move import carry_out, entry_of
from client.promotion.plan import PromoteError, plan, version_directory


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


@pytest.mark.usefixtures("one_refuses")
def test_a_replica_that_refuses_has_all_put_back(replicas, command):
    servers, config = replicas
    before = config.read_text()
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
        carry_out([client], move, entry_of(move, [client]), patience=0)
    assert (labels(servers), config.read_text()) == ([1, 1], before)


def test_edits_made_while_a_version_is_checked_are_not_lost(replicas):
    servers, config = replicas
    move = plan(config, "letters", "stable", 2)
    edited = config.read_text() + "# a note\n"
    config.write_text(edited)
    with ServingClient(servers[0].address, "letters") as client, pytest.raises(InputError, match="was changed while"):
        carry_out([client], move, entry_of(move, [client]))
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
    assert "stabel of model letters does not exist yet (existing labels: canary, stable)" in err
    assert config.read_text() == before


def test_golden_records_are_found_beside_the_file_where_the_base_path_is_the_servers(fake, tmp_path, config_text):
    model = fake.Model()
    version = fake.publish(model, tmp_path / "letters")
    config = tmp_path / "deploy" / "models.config"
    config.parent.mkdir()
    config.write_text(config_text.replace("BASE", "/models/letters"))
    assert version_directory(plan(config, "letters", "stable", 1)) == version
    config.write_text(config_text.replace("BASE", str(tmp_path / "letters")))
    assert version_directory(plan(config, "letters", "stable", 1)) == version


def test_a_label_that_is_new_is_added_in_the_layout_of_the_file(config_text):
    changed = with_label(config_text, "letters", "beta", 2)
    assert labeled_versions(changed, "letters")["beta"] == 2
    assert '\n    version_labels { key: "beta" value: 2 }\n' in changed
    assert changed.replace('\n    version_labels { key: "beta" value: 2 }', "") == config_text


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


def test_a_label_without_a_version_is_refused():
    text = 'model_config_list { config { name: "letters" version_labels { key: "stable" } } }'
    with pytest.raises(InputError, match="cannot be changed"):
        with_label(text, "letters", "stable", 5)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files to others")
def test_a_file_is_replaced_and_keeps_its_owner(tmp_path):
    file = tmp_path / "models.config"
    file.write_text("old")
    os.chown(file, 1234, 4321)
    file.chmod(0o600)
    replace_text(file, "old", "new")
    state = file.stat()
    assert (file.read_text(), state.st_uid, state.st_gid, state.st_mode & 0o777) == ("new", 1234, 4321, 0o600)


def test_a_file_without_the_model_or_of_another_kind_is_refused(config_text):
    with pytest.raises(InputError, match="no model absent"):
        with_label(config_text, "absent", "stable", 2)
    with pytest.raises(InputError, match=re.escape("not a models.config")):
        labeled_versions("model_config_list { nosuch: 1 }", "letters")


def test_a_label_that_was_added_can_be_taken_out_again_to_the_byte(config_text):
    for text in (config_text, 'model_config_list{config{name:"letters"}}', config_text.replace("\n", "\r\n")):
        assert without_label(with_label(text, "letters", "beta", 2), "letters", "beta") == text
        assert without_label(text, "letters", "beta") == text


def test_a_file_is_replaced_as_a_whole_and_keeps_its_permissions(tmp_path):
    file, link = tmp_path / "models.config", tmp_path / "link"
    file.write_text("old")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_text(link, "old", "new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    with pytest.raises(InputError, match="changed by another program"):
        replace_text(link, "old", "newer")
    assert file.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "models.config"]
