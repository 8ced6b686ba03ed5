"""Rollouts simulated with the very command that the gates run: wrong candidates are stopped, good ones let through."""

import numpy as np
import pytest

from client.cli import run

pytest.importorskip("tensorflow_serving", reason="the exporter writes the command, and needs TensorFlow")

from exporter.deploy import gate
from exporter.deploy.start import ServerStart

STABLE, CANDIDATE = 1, 2
WRONG, CANNOT_BE_ASKED, NOT_REACHED = 1, 2, 3


def other_weights(model, random):
    # The least that a float32 of this size shows above the tolerance.
    model.weights = model.weights + random.normal(0, 1e-2, model.weights.shape).astype(np.float32)


def one_weight(model, random):
    model.bias = model.bias.copy()
    model.bias[random.integers(len(model.bias))] += 0.05


def labels_that_changed_places(model, random):
    order = random.permutation(len(model.labels))
    while (order == np.arange(len(order))).all():
        order = random.permutation(len(model.labels))
    model.labels = tuple(model.labels[index] for index in order)


def a_label_less(model, random):
    gone = random.integers(len(model.labels))
    model.labels = tuple(label for index, label in enumerate(model.labels) if index != gone)


def another_export(model, random):
    model.export_id = f"{random.integers(2**60):032x}"


def another_default_k(model, random):
    model.k = model.default_k = int(random.integers(3, 8))


def another_preprocessing(model, random):
    model.preprocessing = str(random.choice(["none", "tf", "torch"]))


def a_head_that_keeps_one_too_many(model, random):
    right = model.head
    model.head = lambda dense, k: right(dense, np.asarray(k) + 1)


def scores_of_other_places(model, random):
    right, shift = model.dense, int(random.integers(1, 8))
    model.dense = lambda images: np.roll(right(images), shift, axis=1)


def nothing_but_zeros(model, random):
    right = model.dense
    model.dense = lambda images: np.zeros_like(right(images))


FAULTS = (
    other_weights,
    one_weight,
    labels_that_changed_places,
    a_label_less,
    another_export,
    another_default_k,
    another_preprocessing,
    a_head_that_keeps_one_too_many,
    scores_of_other_places,
    nothing_but_zeros,
)


@pytest.fixture
def rollout(fake, tmp_path):
    """Roll a candidate out beside a stable version, as a controller does; return the version that callers get then."""
    servers = []

    def roll(seed, fault=None):
        stable, candidate = fake.Model(seed), fake.Model(1000 + seed)
        stable.version, candidate.version = STABLE, CANDIDATE
        for model in (stable, candidate):
            model.takes_files = True
            fake.publish(model, tmp_path / "letters", count=5)
        if fault is not None:
            fault(candidate, np.random.default_rng(seed))
        active, preview = fake.Server(stable), fake.Server(candidate)
        servers.extend((active, preview))
        start = ServerStart(image="tensorflow/serving:2.20.0", root=str(tmp_path))
        command = gate.check_command(gate.Candidate(start=start, model="letters", version=CANDIDATE), preview.address)
        status = run(command[1:])
        if status == 0:
            active = preview
        return status, active._model(_spec()).version

    yield roll
    for server in servers:
        server.stop()


def _spec():
    from client.rpc import messages

    spec = messages.PredictRequest().model_spec
    spec.name = "letters"
    return spec


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_candidate_meets_no_caller(rollout, fault, seed, capsys):
    assert rollout(seed, fault) == (WRONG, STABLE)
    # What the Job's log says is JSON and nothing else.
    assert '"passed": false' in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(50))
def test_a_good_candidate_is_let_through(rollout, seed):
    assert rollout(seed) == (0, CANDIDATE)


def test_a_server_that_does_not_answer_is_told_from_a_wrong_one(tmp_path, fake):
    model = fake.Model()
    model.version = CANDIDATE
    fake.publish(model, tmp_path / "letters")
    start = ServerStart(image="tensorflow/serving:2.20.0", root=str(tmp_path))
    command = gate.check_command(gate.Candidate(start=start, model="letters", version=CANDIDATE), "localhost:1")

    assert run(["--timeout=0.5", *command[1:]]) == NOT_REACHED


def test_a_candidate_that_is_not_served_is_no_candidate(tmp_path, fake, capsys):
    stable, candidate = fake.Model(1), fake.Model(2)
    stable.version, candidate.version = STABLE, CANDIDATE
    fake.publish(stable, tmp_path / "letters")
    fake.publish(candidate, tmp_path / "letters")
    server = fake.Server(stable)
    start = ServerStart(image="tensorflow/serving:2.20.0", root=str(tmp_path))
    command = gate.check_command(gate.Candidate(start=start, model="letters", version=CANDIDATE), server.address)

    status = run(command[1:])

    server.stop()
    assert status == CANNOT_BE_ASKED
    assert "Specific(letters, 2)" in capsys.readouterr().err
