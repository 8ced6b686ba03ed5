"""What the check says of each row of the table, and of servers that are right but noisy, or that go away."""

import json
import threading
import time

import numpy as np
import pytest

from client import InputError, ServingClient, UnreachableError
from client.check.three_questions import check
from client.rpc.metadata import Target
from client.samples.golden import Expectation, read_golden
from signatures.contract import names
from signatures.contract.tolerances import CPU, GPU, with_backbone

from . import head, identity  # noqa: F401 (they fill the table)
from .backbone import LESS_PRECISE, NOISE
from .compact import changed
from .table import BACKBONE, FAULTS, HEAD, IDENTITY, dense_as, head_as


@pytest.fixture
def checked(server, version):
    def run(golden=version, timeout=30):
        with ServingClient(server.address, "letters", timeout=timeout) as client:
            return client.check(golden)

    return run


def failed(result):
    return {name for name in (IDENTITY, BACKBONE, HEAD) if getattr(result, name).passed is False}


def test_what_is_right_passes(checked):
    result = checked()
    assert result.passed
    assert failed(result) == set()
    assert (result.backbone.records, result.head.records) == (9, 9)
    assert result.not_asked == ()


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_fails_the_question_it_belongs_to(name, model, server, checked):
    apply, questions = FAULTS[name]
    apply(model, server)
    result = checked()
    assert not result.passed
    assert failed(result) == questions
    for question in questions:
        first = getattr(result, question).first_fault
        assert first.question == question
        assert first.message


def test_a_fault_names_signature_k_record_entry_and_numbers(model, server, checked):
    head_as(lambda right, dense, k: np.where((k == 2)[:, None], right(dense, k) * np.float32(0.5), right(dense, k)))(
        model, server
    )
    found = checked().head.first_fault
    assert (found.signature, found.k, found.record) == (names.FIXED_K, "left out", 0)
    assert found.entry is not None
    assert "dense" in str(found)
    assert str(found).startswith("signature fixed_k, k left out, record 0, entry ")


def test_a_server_that_batches_is_checked_with_one_k_per_example(model, checked):
    model.batching = True
    result = checked()
    assert result.passed
    assert result.batching
    model.head = lambda dense, k, right=model.head: right(dense, np.minimum(k + 1, 8))
    assert failed(checked()) == {HEAD}


def test_a_version_of_half_precision_is_allowed_its_noise_and_no_more_than_a_user_says(model, server, version):
    dense_as(lambda scores, images: scores.astype(np.float16))(model, server)
    file = version / "assets.extra" / "export.json"
    stated = json.loads(file.read_text())
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version)) == {BACKBONE}
        file.write_text(json.dumps({**stated, "precision": "mixed_float16"}))
        result = client.check(version)
        strict = client.check(version, tolerances=with_backbone(CPU, 1e-5, 1e-5))
    assert result.passed
    assert "mixed_float16" in result.tolerances.blind_to[-1]
    assert failed(strict) == {BACKBONE}


@pytest.mark.parametrize("most", [1, 3])
def test_a_server_that_takes_few_examples_at_once_is_asked_for_as_few(model, checked, most):
    model.batching, model.most = True, most
    result = checked()
    assert result.passed
    assert result.head.answers > result.head.records
    model.head = lambda dense, k, right=model.head: right(dense, np.minimum(k + 1, 8))
    assert failed(checked()) == {HEAD}


@pytest.mark.parametrize("batching", [False, True])
def test_a_default_k_that_metadata_lack_is_no_fault_and_is_still_asked(model, checked, batching):
    model.tells_default_k, model.batching = False, batching
    assert checked().passed
    if not batching:
        model.default_k = 3
        assert failed(checked()) == {HEAD}


def test_a_batching_server_may_pad_top_k_to_a_wider_request(model, server, checked):
    model.batching = True
    FAULTS["top_k always as wide as N"][0](model, server)
    assert checked().passed
    changed(indices=lambda array: np.maximum(array, 0))(model, server)
    assert failed(checked()) == {HEAD}


def test_equal_scores_must_keep_the_lower_index(model, fake, tmp_path):
    model.weights[:], model.bias[:] = 0, 0
    version = fake.publish(model, tmp_path / "tied")
    server = fake.Server(model)
    try:
        with ServingClient(server.address, "letters") as client:
            assert client.check(version).passed
            model.order = lambda row: np.lexsort((-np.arange(len(row)), -row))
            assert failed(client.check(version)) == {HEAD}
            model.order = lambda row: np.lexsort((np.arange(len(row)), -row))
            threshold = lambda dense, k: np.where(dense >= np.sort(dense, 1)[:, -2:-1], dense, 0)  # noqa: E731
            model.head = threshold
            assert failed(client.check(version)) == {HEAD}
    finally:
        server.stop()


def test_a_changed_golden_file_is_named(version, checked):
    file = version / names.ASSETS_EXTRA / names.GOLDEN_FILE
    content = bytearray(file.read_bytes())
    content[8] ^= 1  # one of the sums that the reader skips
    file.write_bytes(content)
    result = checked()
    assert failed(result) == {IDENTITY}
    assert "was changed" in result.identity.first_fault.message


def test_golden_records_of_another_export_fail(fake, tmp_path, checked):
    other = fake.Model(seed=1)
    assert failed(checked(fake.publish(other, tmp_path / "other"))) == {IDENTITY, BACKBONE}


def test_a_model_whose_scores_nothing_shows_is_no_pass(model, version, checked):
    """The record of an older release does not state the signatures that are missing."""
    file = version / "assets.extra" / "export.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "signatures": {}}))
    right, predict = model.declared(), model.predict
    model.declared = lambda: {
        "of_ours": right[names.SERVING_DEFAULT],
        names.EXPORT_INFO: right[names.EXPORT_INFO],
    }
    model.predict = lambda key, inputs: predict(names.SERVING_DEFAULT if key == "of_ours" else key, inputs)
    result = checked()
    assert not result.passed
    assert failed(result) == {BACKBONE}


def test_no_samples_are_no_pass(server):
    with ServingClient(server.address, "letters") as client, pytest.raises(InputError, match="no samples"):
        client.run(check(server.address, Target("letters"), Expectation("nothing", ())))


def test_noise_within_the_tolerance_raises_no_alarm(model, checked):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-3e-6, 3e-6, (len(images), 8)))).astype(np.float32)
    assert checked().passed


def test_the_gpu_tolerance_lets_tf32_pass_and_says_what_it_cannot_see(model, server, version):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-5e-4, 5e-4, (len(images), 8)))).astype(np.float32)
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version, tolerances=CPU)) == {BACKBONE, HEAD}
        result = client.check(version, tolerances=GPU)
        assert result.passed
        assert result.tolerances.blind_to


@pytest.mark.parametrize("name", LESS_PRECISE)
def test_the_gpu_tolerance_lets_less_precise_servers_pass_as_the_docs_say(name, model, server, version):
    LESS_PRECISE[name](model, server)
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version, tolerances=CPU)) == {BACKBONE}
        assert client.check(version, tolerances=GPU).passed


def test_another_version_may_not_slip_in(model, server, fake, version):
    second = fake.Model()
    second.version, second.digest = 2, model.digest
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 30:
            server.models[2] = second
        return right(signature, inputs)

    model.predict = predict
    with ServingClient(server.address, "letters") as client:
        result = client.check(version)
        assert not result.passed
        assert "version 2 answered" in result.head.first_fault.message
        assert client.check(version, version=1).passed


@pytest.mark.parametrize("changed", [False, True], ids=["the same comes back", "another comes back"])
def test_a_restart_in_the_middle_never_ends_in_a_false_pass(fake, tmp_path, changed):
    model = fake.Model()
    version = fake.publish(model, tmp_path / "letters")
    server = fake.Server(model)
    after = fake.Model()
    after.digest = model.digest
    if changed:
        after.weights = after.weights * NOISE
    servers = [server]
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 40:
            threading.Thread(target=restart).start()
            time.sleep(0.2)
        return right(signature, inputs)

    def restart():
        server.stop()
        servers.append(fake.Server(after, server.port))

    model.predict = predict
    try:
        with ServingClient(server.address, "letters") as client:
            result = client.check(version)
        # The retries may end before the restart does.
        assert result.passed is not changed or "reached" in str(result)
    finally:
        for one in servers:
            one.stop()


def test_a_server_that_goes_away_is_a_fault_and_ends_the_check_soon(server, model, version):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 10:
            threading.Thread(target=server.stop).start()
            time.sleep(0.2)
        return right(signature, inputs)

    model.predict = predict
    with ServingClient(server.address, "letters", timeout=2) as client:
        result = client.check(version)
        assert not result.passed
        with pytest.raises(UnreachableError):
            client.check(version)
    assert len(calls) < 20


def test_the_golden_file_may_be_named_itself(version, checked):
    assert checked(version / names.ASSETS_EXTRA / names.GOLDEN_FILE).passed


def test_golden_records_are_read_with_inputs_and_dense_scores(version, model):
    reference = read_golden(version)
    assert len(reference.samples) == 9
    sample = reference.samples[3]
    assert sample.inputs[names.IMAGES].shape == (1, 4, 4, 1)
    np.testing.assert_array_equal(sample.dense, model.dense(sample.inputs[names.IMAGES])[0])
