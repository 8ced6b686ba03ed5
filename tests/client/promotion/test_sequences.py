"""Random sequences of promotions, rollbacks, edits by hand and deaths, compared with a model of what should be."""

import shutil
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from client import InputError, ServerError, ServingClient
from client.promotion import history, move
from client.promotion.models_config import labeled_versions, with_label
from client.promotion.move import carry_out, entry_of
from client.promotion.plan import PromoteError, plan, plan_back

MODELS, LABELS, VERSIONS = ("letters", "other"), ("stable", "canary", "beta"), (1, 2, 3)
# One label is moved more often than others, or few sequences would roll it back twice.
MOVED = ("letters", "stable")
KEYS = strategies.sampled_from([MOVED, MOVED, MOVED, ("letters", "canary"), ("letters", "beta"), ("other", "stable")])
# Most moves live; the others die before this step.
DEATHS = strategies.sampled_from([None] * 10 + list(range(10)))


ENTRY = """\
  config {{
    name: "{name}"
    base_path: "{base}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ versions: [1, 2, 3] }} }}
    version_labels {{ key: "stable" value: 1 }}
    version_labels {{ key: "canary" value: 2 }}
  }}
"""


class KilledError(BaseException):
    """Stands for the death of the process."""


@dataclass(frozen=True)
class Stage:
    """A change that is made as a whole, or found without its end."""

    command: str
    key: tuple[str, str]
    old: int | None
    new: int


@contextmanager
def dying_before(step):
    """Let the process die before a step; yield the steps that were made."""
    made = []

    def counted(name, right):
        def call(*arguments, **keywords):
            if len(made) == step:
                raise KilledError
            result = right(*arguments, **keywords)
            made.append(name)
            return result

        return call

    with pytest.MonkeyPatch.context() as patch:
        for owner, name in (
            (history, "begin"),
            (history, "end"),
            (move, "replace_text"),
            (ServingClient, "reload"),
            (ServingClient, "run"),
        ):
            patch.setattr(owner, name, counted(name, getattr(owner, name)))
        yield made


def arrived(steps, version):
    """Go to a version: back to it if the label has had it, else on to it."""
    steps = list(steps)
    if version in steps:
        while steps[-1] != version:
            steps.pop()
        return steps
    return [*steps, version]


class Promotions(RuleBasedStateMachine):
    """What a models.config, its replicas and its history go through."""

    # Set by run_sequences.
    config = text = clients = None

    @initialize()
    def start(self):
        history.history_file(self.config).unlink(missing_ok=True)
        self.config.write_text(self.text)
        self.steps, self.open, self.synced = {}, None, True
        for client in self.clients["letters"]:
            client.reload(self.text)

    def labels(self):
        text = self.config.read_text()
        return {(model, label): v for model in MODELS for label, v in labeled_versions(text, model).items()}

    def settling(self):
        """Return the labels once the open move is settled."""
        found, cut = self.labels(), self.open
        if cut is not None and found.get(cut.key) in (cut.old, cut.new):
            found[cut.key] = cut.new if cut.command == "rollback" else cut.old
        return {key: version for key, version in found.items() if version is not None}

    def ended(self, stage):
        """Note that a stage came to its end."""
        steps = self.steps.get(stage.key, [])
        steps = steps if stage.old is None else arrived(steps, stage.old)
        self.steps[stage.key] = arrived(steps[:-1], stage.new) if stage.command == "rollback" else [*steps, stage.new]

    @rule(key=KEYS, version=strategies.sampled_from(VERSIONS), death=DEATHS)
    def promote(self, key, version, death):
        before = self.settling()
        wanted = Stage("promote", key, before.get(key), version)
        planned = plan(self.config, *key, version)
        assert (planned.old, planned.new) == (wanted.old, wanted.new)
        self.make(planned, wanted, before | {key: version}, death)

    @rule(key=KEYS, death=DEATHS)
    def roll_back(self, key, death):
        self.rollback(key, death)

    def rollback(self, key, death):
        found, before, cut = self.labels(), self.settling(), self.open
        if key not in found:
            with pytest.raises(InputError, match="has no label"):
                plan_back(self.config, *key)
            return
        if cut is not None and cut.key == key and found[key] in (cut.old, cut.new) and key in before:
            self.make(plan_back(self.config, *key), None, before, death)
            return
        steps = arrived(self.steps.get(key, []), before[key]) if key in before else []
        if len(steps) < 2:
            with pytest.raises(PromoteError, match="nothing to go back to"):
                plan_back(self.config, *key)
            return
        wanted = Stage("rollback", key, before[key], steps[-2])
        self.make(plan_back(self.config, *key), wanted, before | {key: steps[-2]}, death)

    @rule(death=DEATHS)
    def roll_back_what_is_moved_most(self, death):
        self.rollback(MOVED, death)

    @rule(key=KEYS, version=strategies.sampled_from(VERSIONS))
    def edit(self, key, version):
        """Another program moves a label in the file, and no replica knows."""
        if key in self.labels():
            self.config.write_text(with_label(self.config.read_text(), *key, version))
            self.synced = False

    def make(self, planned, wanted, expected, death):
        clients, cut = self.clients[planned.model], self.open
        stages = [] if cut is None or wanted == cut else [cut]
        if wanted is not None and wanted.old != wanted.new:
            stages.append(wanted)
        with dying_before(death) as made:
            try:
                carry_out(clients, planned, entry_of(planned, clients))
                killed = False
            except KilledError:
                killed = True
        for stage in stages[: made.count("end")]:
            if stage != cut or stage == wanted or stage.command == "rollback":
                self.ended(stage)
            self.open = None
        if "begin" in made and made.count("end") < len(stages):
            self.open = wanted
        self.synced = not killed
        if not killed:
            assert self.open is None
            assert self.labels() == expected

    @invariant()
    def file_history_and_replicas_agree(self):
        entries = history.read_history(self.config)
        assert all(entry.outcome for entry in entries[:-1])
        assert (self.open is not None) == bool(entries and entries[-1].outcome is None)
        if self.synced:
            labels = self.labels()
            for model in MODELS:
                for label in LABELS:
                    for client in self.clients[model]:
                        assert served(client, label) == labels.get((model, label))


def served(client, label):
    """Return the version that answers to a label, None where there is none."""
    try:
        return client.metadata(label=label).version
    except ServerError:
        return None


def run_sequences(config, addresses, count):
    """Take two replicas through this many random sequences."""

    clients = {name: [ServingClient(address, name, timeout=30) for address in addresses] for name in MODELS}
    every = [client for several in clients.values() for client in several]
    for client in every:
        for version in VERSIONS:
            client.wait_until_ready(version=version, timeout=60)
    run_state_machine_as_test(
        type("Machine", (Promotions,), {"config": config, "text": config.read_text(), "clients": clients}),
        settings=settings(max_examples=count, stateful_step_count=12, suppress_health_check=list(HealthCheck)),
    )
    for client in every:
        client.close()


def test_every_sequence_ends_as_it_should(replicas, fake):
    servers, config = replicas
    third = fake.Model(3)
    third.version = 3
    for server in servers:
        server.models[3] = third
    run_sequences(config, [server.address for server in servers], 200)


@pytest.fixture
def stand_ins(digits_version, tmp_path):
    """Two stand-ins with three versions of two models, and their models.config."""
    from server import ModelServer, Settings

    config = tmp_path / "models.config"
    for version in (1, 2, 3):
        # Without warm-up, which takes most of the time that loading does.
        without = shutil.ignore_patterns("tf_serving_warmup_requests")
        shutil.copytree(digits_version, tmp_path / "digits" / str(version), ignore=without)
    entries = "".join(ENTRY.format(name=name, base=tmp_path / "digits") for name in MODELS)
    config.write_text(f"model_config_list {{\n{entries}}}\n")
    started = Settings(model_config_file=str(config), allow_version_labels_for_unavailable_models=True)
    with ModelServer(started) as first, ModelServer(started) as second:
        yield config, [f"localhost:{server.port}" for server in (first, second)]


def test_some_sequences_end_as_they_should_on_the_stand_in(stand_ins):
    run_sequences(*stand_ins, 10)
