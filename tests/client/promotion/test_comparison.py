"""A candidate is compared with what is served: each rule stops its own fault, and no rule stops a good candidate."""

import json

import numpy as np
import pytest

from client import Recorder, ServingClient
from client.cli.commands import run
from client.comparison import latency
from signatures.contract import names
from signatures.contract.quality import THRESHOLD

STABLE, CANDIDATE = 1, 2
CONFIG = (
    'model_config_list {{ config {{ name: "letters" base_path: "{}" version_labels {{ key: "stable" value: 1 }} }} }}'
)


class Clock:
    """Time that only the served models spend."""

    def __init__(self, random):
        self.random, self.now = random, 0.0

    def perf_counter(self):
        return self.now

    def cost(self, model, seconds):
        right = model.predict

        def predict(*arguments):
            self.now += seconds * self.random.lognormal(0, 0.2)
            return right(*arguments)

        model.predict = predict


@pytest.fixture
def rollout(fake, tmp_path, capfd, monkeypatch):
    """Promote a candidate that is like the stable version but for a fault; return the status and the answer."""
    servers = []

    def roll(fault=None, *options, seed=0, samples=None, seconds=(0.01, 0.01), both=None):
        random = np.random.default_rng(seed)
        stable, candidate = fake.Model(seed), fake.Model(seed)
        stable.version, candidate.version, candidate.export_id = STABLE, CANDIDATE, f"{seed + 1000:032x}"
        for model in (stable, candidate):
            # Two trainings of the same model.
            vars(model).update(both or {})
            model.weights = model.weights + random.normal(0, 0.01, model.weights.shape).astype(np.float32)
        if fault is not None:
            fault(candidate)
        base = tmp_path / f"letters-{seed}" / "letters"
        for model in (stable, candidate):
            fake.publish(model, base)
        clock = Clock(random)
        monkeypatch.setattr(latency.time, "perf_counter", clock.perf_counter)
        for model, cost in zip((stable, candidate), seconds, strict=True):
            clock.cost(model, cost)
        server = fake.Server(stable)
        server.models, server.labels = {STABLE: stable, CANDIDATE: candidate}, {"stable": STABLE}
        servers.append(server)
        config = base.parent / "models.config"
        config.write_text(CONFIG.format(base))
        if samples is not None:
            options = (*options, "--samples", samples(fake.Model(seed), base.parent, server))
        status = promote(server, config, *options)
        out, err = capfd.readouterr()
        assert "Traceback" not in out + err
        moved = server.labels["stable"] == CANDIDATE
        assert moved == ("value: 2" in config.read_text()) == (status == 0)
        return status, json.loads(out) if out.startswith("{") else out, err

    yield roll
    for server in servers:
        server.stop()


def promote(server, config, *options):
    command = ["promote", "--version", "2", "--label", "stable", "--yes", "--json", "--config", str(config)]
    return run(["--address", server.address, "--model", "letters", *command, *map(str, options)])


def labeled(count):
    """Return what writes samples with their true labels, those of the model without the noise of a training."""

    def write(truth, folder, server):
        images = np.random.default_rng(5).random((count, 4, 4, 1), np.float32)
        dense = truth.dense(images)
        labels = (truth.head(dense, np.full(count, truth.k)) >= THRESHOLD).astype(int)
        np.savez(folder / "labeled.npz", images=images, labels=labels)
        return folder / "labeled.npz"

    return write


QUALITY = ("--max-exact-match-drop", "0.03", "--max-f1-drop", "0.03", "--max-latency-ratio", "1.2")


def permuted(candidate):
    candidate.labels = (*candidate.labels[1:], candidate.labels[0])


def a_label_less(candidate):
    candidate.labels = candidate.labels[:-1]
    candidate.weights, candidate.bias = candidate.weights[:, :-1], candidate.bias[:-1]


def a_label_more(candidate):
    candidate.labels = (*candidate.labels, "new")
    candidate.weights = np.concatenate([candidate.weights, candidate.weights[:, :1]], axis=1)
    candidate.bias = np.append(candidate.bias, np.float32(0))


def less_accurate(share):
    def change(candidate):
        right = candidate.dense
        # The first pixels are uniform, so that this is the share of the images.
        candidate.dense = lambda images: np.where(images[:, :1, 0, 0] < share, 1 - right(images), right(images))

    return change


def without_a_signature(candidate):
    candidate.keys = (names.FIXED_K,)


def another_preprocessing(candidate):
    candidate.preprocessing = "tf"


@pytest.mark.parametrize(
    ("fault", "rule", "seconds"),
    [
        (permuted, ["labels"], (0.01, 0.01)),
        # The width of an answer changes with the labels, and is no fault of its own.
        (a_label_less, ["labels"], (0.01, 0.01)),
        (a_label_more, ["labels"], (0.01, 0.01)),
        (without_a_signature, ["interface"], (0.01, 0.01)),
        (another_preprocessing, ["interface"], (0.01, 0.01)),
        (less_accurate(0.05), ["exact match", "F1"], (0.01, 0.01)),
        (None, ["latency"], (0.01, 0.015)),
    ],
)
def test_each_fault_is_stopped_by_its_own_rule_and_nothing_moves(rollout, fault, rule, seconds):
    status, answer, err = rollout(fault, *QUALITY, samples=labeled(1000), seconds=seconds)
    assert status == 1
    assert set(answer["compared"]["stopped"]) <= set(rule)
    assert rule[0] in answer["compared"]["stopped"]
    assert answer["moved"] is False
    assert "Nothing was changed" in err


@pytest.mark.parametrize("seed", range(50))
def test_a_good_candidate_is_not_stopped(rollout, seed):
    status, answer, _ = rollout(None, *QUALITY, seed=seed, samples=labeled(400))
    assert (status, answer["compared"]["stopped"]) == (0, {})
    assert {one["samples"] for one in answer["compared"]["quality"]} == {400}
    assert answer["compared"]["latency"]["calls"] >= 50


def test_a_drop_that_is_allowed_stops_nothing_and_is_shown_with_its_interval(rollout):
    status, answer, _ = rollout(less_accurate(0.05), "--max-exact-match-drop", "0.2", samples=labeled(1000))
    assert status == 0
    exact = answer["compared"]["quality"][0]
    assert exact["metric"] == "exact match"
    assert exact["low"] <= exact["before"] - exact["after"] <= exact["high"]
    assert 0.03 < exact["before"] - exact["after"] < 0.07


def test_too_few_samples_are_not_taken_for_proof(rollout):
    few = rollout(less_accurate(0.2), "--max-exact-match-drop", "0.25", samples=labeled(30))
    assert few[0] == 1
    assert "more labeled samples narrow the interval" in few[1]["compared"]["stopped"]["exact match"]
    answer = rollout(None, "--max-exact-match-drop", "0.03", seed=1, samples=labeled(30))[1]
    assert "30 labeled samples can miss a fault that 10.0%" in answer["compared"]["notes"][0]


@pytest.mark.parametrize("fault", [permuted, a_label_less, a_label_more])
def test_labels_may_change_where_that_is_said(rollout, fault):
    status, answer, _ = rollout(fault, "--allow-label-change", samples=labeled(50))
    assert status == 0
    assert answer["compared"]["quality"][0]["samples"] == 50
    if fault is permuted:
        # The same scores under other names are other answers.
        assert answer["compared"]["answers"]["changed_sets"] > 0.5
    if fault is a_label_more:
        assert answer["compared"]["labels"] == {"added": ["new"], "removed": [], "moved": []}


@pytest.mark.parametrize("fault", [without_a_signature, another_preprocessing])
def test_callers_may_break_where_that_is_said(rollout, fault):
    status, answer, _ = rollout(fault, "--allow-breaking-change")
    assert status == 0
    assert len(answer["compared"]["breaking"]) == 1
    assert answer["compared"]["notes"] == ["No samples were sent: the golden records may not fit both versions."]


def test_another_default_is_told(rollout):
    def change(candidate):
        candidate.k = candidate.default_k = 3

    status, answer, _ = rollout(change)
    assert (status, answer["compared"]["notes"]) == (0, ["The default k is 3, and was 2."])
    assert answer["compared"]["answers"]["changed_sets"] == 1.0


def test_without_samples_the_golden_records_tell_how_answers_differ(rollout):
    status, answer, _ = rollout(less_accurate(0.5))
    assert status == 0
    answers = answer["compared"]["answers"]
    assert (answers["samples"], answer["compared"]["quality"]) == (9, [])
    assert 0 < answers["changed_sets"] < 1
    assert answers["largest_difference"] > 0.5


def recorded(model, folder, server):
    """Record traffic: requests of several k, one of several examples, of which nobody knows the truth."""
    images = np.random.default_rng(6).random((20, 4, 4, 1), np.float32)
    path = folder / "traffic.tfrecord"
    with Recorder(path) as record, ServingClient(server.address, "letters", record=record) as client:
        for number in range(0, 20, 2):
            client.predict(images[number : number + 2], k=[1, 3], version=STABLE)
        client.predict(images[:3], version=STABLE)
    return path


def test_recorded_traffic_tells_the_share_of_changed_sets(rollout):
    status, answer, _ = rollout(None, samples=recorded)
    assert (status, answer["compared"]["answers"]["samples"]) == (0, 23)
    assert answer["compared"]["answers"]["largest_difference"] < 0.1
    status, _, err = rollout(None, "--max-f1-drop", "0.1", seed=1, samples=recorded)
    assert status == 2
    assert "have no true labels" in err


@pytest.mark.parametrize("change", [{"batching": True}, {"most": 1}, {"tells_default_k": False}])
def test_servers_that_batch_or_say_less_are_compared_too(rollout, change):
    status, answer, _ = rollout(None, *QUALITY, samples=labeled(400), both=change)
    assert (status, answer["compared"]["answers"]["samples"]) == (0, 400)


def written(folder, slices):
    file = folder / "slices.json"
    file.write_text(slices if isinstance(slices, str) else json.dumps(slices))
    return file


def test_a_slice_is_judged_by_itself(rollout, tmp_path):
    """The whole may drop by 6%, and one slice drops by all."""
    images = np.random.default_rng(5).random((1000, 4, 4, 1), np.float32)
    bad = np.flatnonzero(images[:, 0, 0, 0] < 0.05).tolist()
    slices = written(tmp_path, {"dark": bad, "named": [f"labeled.npz, row {row}" for row in range(500, 900)]})
    options = ("--max-exact-match-drop", "0.1", "--slices", slices)
    status, answer, _ = rollout(less_accurate(0.05), *options, samples=labeled(1000))
    assert status == 1
    assert list(answer["compared"]["stopped"]) == ["exact match, dark"]
    assert [one["slice"] for one in answer["compared"]["quality"]] == ["", "", "dark", "dark", "named", "named"]
    assert answer["compared"]["quality"][4]["samples"] == 400


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ("nonsense", "is not JSON"),
        ([], "must be an object"),
        ({"a": []}, "with a sample in each slice"),
        ({"a": [50]}, "which is not among the 50 samples"),
        ({"a": ["absent.png"]}, "names the sample 'absent.png'"),
        ({"a": [True]}, "names the sample True"),
    ],
)
def test_slices_that_cannot_be_read_are_wrong_input(rollout, tmp_path, slices, said):
    status, _, err = rollout(None, "--slices", written(tmp_path, slices), samples=labeled(50))
    assert status == 2
    assert said in err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--max-f1-drop", "0.1"), "pass --samples"),
        (("--max-exact-match-drop", "0.1"), "pass --samples"),
        (("--slices", "slices.json"), "pass --samples"),
        (("--report-inputs",), "pass --report"),
    ],
)
def test_options_that_need_others_say_so(rollout, options, said):
    status, _, err = rollout(None, *options)
    assert status == 2
    assert said in err


def test_inputs_are_in_no_report_unless_asked_for(rollout, tmp_path):
    page = tmp_path / "page.html"
    assert rollout(less_accurate(0.5), "--report", page, samples=recorded)[0] == 0
    text = page.read_text()
    assert "Compared with what is served" in text
    assert "changed" in text
    for shown in ("<img", "traffic.tfrecord", "Record 0"):
        assert shown not in text
    status, answer, _ = rollout(less_accurate(0.5), "--report", page, "--report-inputs", seed=1, samples=recorded)
    assert status == 0
    text = page.read_text()
    for shown in ("<img", "traffic.tfrecord", "Record 0", "Samples with other kept labels"):
        assert shown in text
    assert "traffic.tfrecord" not in json.dumps(answer)


def test_a_report_is_written_of_what_was_stopped_and_of_several_faults(rollout, tmp_path):
    page = tmp_path / "page.html"
    assert rollout(permuted, "--report", page)[0] == 1
    assert "Labels changed: a, b, c, d, e and 3 more moved" in page.read_text()


def test_people_see_a_table(command):
    status, out, _ = command("promote", "--version", "2", "--label", "stable", "--yes", "--max-latency-ratio", "100")
    assert status == 0
    for shown in (
        "from version 1 to version 2",
        "labels",
        "interface",
        "kept labels, 9 samples",
        "latency",
        "100 times",
    ):
        assert shown in out


def test_a_label_that_is_new_is_compared_with_nothing(command):
    status, out, err = command("promote", "--version", "2", "--label", "beta", "--yes", "--create-label", "--json")
    assert (status, json.loads(out)["compared"]) == (0, None)
    assert "compared with no other" in err


def test_a_version_that_cannot_be_asked_is_not_replaced_unless_that_is_said(replicas, command):
    servers, config = replicas
    before = config.read_text()
    for server in servers:
        server.models, server.others = {2: server.models[2]}, {}
    promotion = ("promote", "--version", "2", "--label", "stable", "--yes")
    status, _, err = command(*promotion)
    assert status == 1
    assert "version 1, which has the label stable, does not answer" in err
    assert config.read_text() == before
    allowed = (*promotion, "--allow-label-change", "--allow-breaking-change")
    assert command(*allowed, "--max-latency-ratio", "2")[0] == 1
    status, _, err = command(*allowed)
    assert status == 0
    assert "was not compared" in err


def test_a_version_that_does_not_tell_its_labels_is_not_replaced_unless_that_is_said(replicas, command):
    servers, _ = replicas
    old = servers[0].models[1]
    declared = old.declared()
    del declared[names.EXPORT_INFO]
    old.declared = lambda: declared
    promotion = ("promote", "--version", "2", "--label", "stable", "--yes")
    status, out, _ = command(*promotion)
    assert status == 1
    assert "Version 1 does not report its labels" in out
    assert command(*promotion, "--allow-label-change")[0] == 0


def test_a_file_that_was_tampered_with_is_named_and_nothing_moves(replicas, command):
    servers, config = replicas
    before = config.read_text()
    extra = config.parent / "letters" / "2" / names.ASSETS_EXTRA
    (extra / "added").write_text("")
    status, out, err = command("promote", "--version", "2", "--label", "stable", "--yes")
    assert status == 1
    assert "added  assets.extra/added" in out
    assert "Nothing was changed" in err
    assert (config.read_text(), servers[0].labels["stable"]) == (before, 1)
    answer = json.loads(command("promote", "--version", "2", "--label", "stable", "--yes", "--json")[1])
    assert (answer["moved"], answer["verified"]["added"]) == (False, ["assets.extra/added"])
