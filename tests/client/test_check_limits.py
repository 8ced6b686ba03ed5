"""The check of min_score and thresholds: against servers that treat them wrongly, and against right but noisy ones."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from client import ServingClient
from signatures.contract import names
from signatures.contract.tolerances import GPU

IDENTITY, BACKBONE, HEAD = "identity", "backbone", "head"
THRESHOLDS = (0.3, 0.7, 0.0, 0.5, 0.2, 0.6, 0.9, 0.4)
LISTED = (names.TOP_K, names.ENCODED_IMAGES_TOP_K, names.CLASSIFY)


@pytest.fixture
def model(fake):
    model = fake.Model()
    model.takes_files = True
    model.thresholds, model.min_score, model.default_min_score = THRESHOLDS, 0.1, 0.1
    return model


@pytest.fixture
def checked(server, version):
    def run(**options):
        with ServingClient(server.address, "letters", timeout=30) as client:
            return client.check(version, **options)

    return run


def failed(result):
    return {name for name in (IDENTITY, BACKBONE, HEAD) if getattr(result, name).passed is False}


def bounds_as(change, signatures=None):
    """Serve what `change` makes of the right bounds [B, N], of min_score [B] and of the thresholds."""

    def apply(model):
        right = model.bounds

        def bounds(signature, min_score):
            if signatures is not None and signature not in signatures:
                return right(signature, min_score)
            thresholds = np.array(model.thresholds or np.zeros(8), np.float32)
            return np.asarray(change(right(signature, min_score), min_score[:, None], thresholds), np.float32)

        model.bounds = bounds

    return apply


def below_as(change):
    def apply(model):
        model.below = lambda scores, bounds: change(scores, bounds)

    return apply


def limited_as(change):
    def apply(model):
        right = model.limited
        model.limited = lambda *limits: change(SimpleNamespace(model=model, right=right), *limits)

    return apply


def before_the_cut(serve, signature, dense, counts, min_score):
    """A smaller score moves up for one that is below its bound."""
    bounds = serve.model.bounds(signature, min_score)
    reaching = np.where(serve.model.below(dense, bounds), np.float32(0), dense)
    return serve.right(signature, reaching, counts, min_score)


def gaps_in_the_list(serve, signature, dense, counts, min_score):
    if signature not in LISTED:
        return serve.right(signature, dense, counts, min_score)
    listed = serve.model.listed(dense, counts)
    bounds = serve.model.bounds(signature, min_score)
    own = np.take_along_axis(bounds, np.clip(listed[names.INDICES], 0, 7), 1)
    cut = serve.model.below(listed[names.SCORES], own)
    unused = {names.INDICES: np.int32(-1), names.SCORES: np.float32(0), names.LABELS: b""}
    return {name: np.where(cut, unused[name], array) for name, array in listed.items()}


def narrower_lists(serve, signature, dense, counts, min_score):
    outputs = serve.right(signature, dense, counts, min_score)
    if signature not in LISTED:
        return outputs
    used = (outputs[names.INDICES] >= 0).sum(1).max(initial=0)
    return {name: array[:, :used] for name, array in outputs.items()}


def labels_stay(serve, signature, dense, counts, min_score):
    outputs = serve.right(signature, dense, counts, min_score)
    if signature not in LISTED:
        return outputs
    return {**outputs, names.LABELS: serve.model.listed(dense, counts)[names.LABELS]}


WRONG = {
    "thresholds shifted by one label": bounds_as(lambda right, each, all_: np.maximum(each, np.roll(all_, 1))),
    "thresholds in reverse": bounds_as(lambda right, each, all_: np.maximum(each, all_[::-1])),
    "a threshold a tenth higher": bounds_as(lambda right, each, all_: np.maximum(each, all_ + 0.1 * (all_ == 0.4))),
    "the threshold of one label missing": bounds_as(
        lambda right, each, all_: np.maximum(each, np.where(np.arange(8) == 0, 0, all_))
    ),
    "thresholds ignored": bounds_as(lambda right, each, all_: np.broadcast_to(each, right.shape)),
    "thresholds ignored by top_k": bounds_as(
        lambda right, each, all_: np.broadcast_to(each, right.shape), [names.TOP_K]
    ),
    "thresholds ignored by fixed_k": bounds_as(
        lambda right, each, all_: np.broadcast_to(each, right.shape), [names.FIXED_K]
    ),
    "the lower of the two bounds": bounds_as(
        lambda right, each, all_: np.where(all_ > 0, np.minimum(each, all_), each)
    ),
    "min_score instead of thresholds": bounds_as(
        lambda right, each, all_: np.where(each > 0, np.broadcast_to(each, right.shape), all_)
    ),
    "min_score ignored": bounds_as(lambda right, each, all_: np.broadcast_to(all_, right.shape)),
    "min_score ignored by encoded_images": bounds_as(
        lambda right, each, all_: np.broadcast_to(all_, right.shape), [names.ENCODED_IMAGES]
    ),
    "min_score ignored by classify": bounds_as(
        lambda right, each, all_: np.broadcast_to(all_, right.shape), [names.CLASSIFY]
    ),
    "the first min_score for all": bounds_as(lambda right, each, all_: np.maximum(each[:1], all_ + 0 * right)),
    "min_score in reverse": bounds_as(lambda right, each, all_: np.maximum(each[::-1], all_)),
    "the magnitude of min_score": bounds_as(lambda right, each, all_: np.maximum(np.abs(each), all_)),
    "min_score of one sets no bound": bounds_as(
        lambda right, each, all_: np.maximum(np.where(each > 1, 0, each), all_)
    ),
    "min_score rounded to two places": bounds_as(lambda right, each, all_: np.maximum(np.round(each, 2), all_)),
    "min_score in float16": bounds_as(lambda right, each, all_: np.maximum(each.astype(np.float16), all_)),
    "greater for greater or equal": below_as(lambda scores, bounds: (scores <= bounds) & (bounds > 0)),
    "within a ten-thousandth of the bound": below_as(lambda scores, bounds: (scores < bounds - 1e-4) & (bounds > 0)),
    "what is above the bound": below_as(lambda scores, bounds: (scores > bounds) & (bounds > 0)),
    "bounds applied before the cut by k": limited_as(before_the_cut),
    "gaps left in lists": limited_as(gaps_in_the_list),
    "lists as narrow as what is kept": limited_as(narrower_lists),
    "labels of what was not kept": limited_as(labels_stay),
}


def test_thresholds_and_a_default_min_score_served_rightly_pass(checked):
    result = checked()
    assert result.passed, result
    assert (result.head.near_ties, result.not_asked) == (0, ())
    asked = {each.signature for each in result.signatures}
    assert {names.DENSE, names.ENCODED_IMAGES_DENSE, names.CLASSIFY, names.FIXED_K, names.TOP_K} <= asked


@pytest.mark.parametrize("name", WRONG)
def test_bounds_that_are_served_wrongly_fail_the_head(name, model, checked):
    WRONG[name](model)
    assert failed(checked()) == {HEAD}


@pytest.mark.parametrize(
    "name", ["greater for greater or equal", "min_score ignored", "min_score rounded to two places"]
)
def test_they_fail_it_without_thresholds_and_on_a_server_that_batches(name, fake, model, server, tmp_path):
    model.thresholds, model.batching = (), True
    version = fake.publish(model, tmp_path / "without")
    with ServingClient(server.address, "letters") as client:
        assert client.check(version).passed
        WRONG[name](model)
        assert failed(client.check(version)) == {HEAD}


@pytest.mark.parametrize(
    ("questions", "changes"),
    [
        ({IDENTITY}, {"said_min_score": 0.2}),
        ({IDENTITY}, {"said_thresholds": (0.3, *THRESHOLDS[:-1])}),
        ({IDENTITY, HEAD}, {"default_min_score": 0.0}),
        ({IDENTITY, HEAD}, {"min_score": 0.9}),
        ({IDENTITY, HEAD}, {"thresholds": (0.9, *THRESHOLDS[1:])}),
        ({IDENTITY, HEAD}, {"thresholds": ()}),
    ],
)
def test_other_limits_than_exported_fail(questions, changes, model, checked):
    for name in [name for name in changes if name.startswith("said_")]:
        right, said = model.info, changes.pop(name)
        value = json.dumps(said).encode() if isinstance(said, tuple) else np.float32(said)
        key = name.removeprefix("said_")
        model.info = lambda probe, right=right, key=key, value=value: {
            **right(probe),
            key: np.full(len(probe), value, object if isinstance(value, bytes) else np.float32),
        }
    for name, value in changes.items():
        setattr(model, name, value)
    assert failed(checked()) == questions


def test_thresholds_hide_no_fault_of_the_backbone(model, checked):
    right = model.dense
    # The score of a label that is below its threshold of 0.9 for nearly all samples.
    model.dense = lambda images: np.where(np.arange(8) == 6, right(images) * np.float32(0.99), right(images))
    assert failed(checked()) == {BACKBONE}


@pytest.mark.parametrize("scale", [1e-7, 3e-6])
def test_noise_at_a_bound_raises_no_alarm_and_is_counted(scale, model, checked):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-scale, scale, (len(images), 8)))).astype(
        np.float32
    )
    result = checked()
    assert result.passed, result.head.first_fault
    assert result.head.near_ties > 10


def test_noise_of_a_gpu_at_a_bound_raises_no_alarm(model, checked):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-5e-4, 5e-4, (len(images), 8)))).astype(np.float32)
    result = checked(tolerances=GPU)
    assert result.passed, result.head.first_fault


def test_another_server_of_the_same_export_is_compared_by_its_dense_scores(model, fake, server, version):
    from client.check.expectations import expectation_of
    from client.check.three_questions import check
    from client.rpc.metadata import Target
    from client.samples.golden import read_golden

    samples, target = read_golden(version).samples, Target("letters")
    with ServingClient(server.address, "letters") as client:
        expected = client.run(expectation_of("the other server", target, samples, True))
        np.testing.assert_array_equal(expected.samples[0].dense, model.dense(samples[0].inputs[names.IMAGES])[0])
        assert client.run(check(server.address, target, expected)).passed


def test_an_older_export_is_checked_as_before_and_not_asked_for_bounds(fake, tmp_path):
    model = fake.Model()
    model.takes_min_score, model.takes_files = False, True
    version = fake.publish(model, tmp_path / "older")
    server = fake.Server(model)
    try:
        with ServingClient(server.address, "letters") as client:
            result = client.check(version)
        assert result.passed, result
        assert not any(names.MIN_SCORE in request.inputs for request in server.requests)
    finally:
        server.stop()


def test_own_signatures_of_an_export_with_thresholds_are_named_as_not_asked(model, fake, tmp_path):
    right = model.declared
    model.declared = lambda: {**right(), "mirrored": right()[names.TOP_K]}
    version = fake.publish(model, tmp_path / "own")
    server = fake.Server(model)
    try:
        with ServingClient(server.address, "letters") as client:
            result = client.check(version)
        assert result.passed
        ((signature, reason),) = [(each.signature, each.reason) for each in result.not_asked]
        assert (signature, reason) == ("mirrored", "no request can show its scores below the labels' thresholds")
    finally:
        server.stop()


@pytest.mark.parametrize("key", [names.SERVING_DEFAULT, names.ENCODED_IMAGES])
def test_a_comparison_of_versions_sees_scores_below_their_thresholds(key, model, server, version):
    from client.comparison.answers import answers_of
    from client.comparison.sides import read_side
    from client.samples.golden import read_golden
    from client.samples.images import with_file

    samples = [with_file(sample, "unit") for sample in read_golden(version).samples]
    with ServingClient(server.address, "letters") as client:
        answers = answers_of(client, read_side(client, 1), key, samples, 8)
    images = np.concatenate([sample.inputs[names.IMAGES] for sample in samples])
    np.testing.assert_allclose(answers.dense, model.dense(images), rtol=1e-5)
    assert (answers.served[answers.served != 0] >= 0.1).all()
