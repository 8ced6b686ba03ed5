"""Recorded traffic of a served model: sent once more, read as samples, and as the warm-up of a version."""

import json
import shutil
from itertools import cycle, islice

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client import Recorder, ServingClient
from client.cli.commands import run
from client.recording import recorded_requests
from client.rpc.calls import PREDICT
from client.rpc.codec import decode_tensor
from client.rpc.messages import ClassificationResponse, PredictResponse
from client.samples import inputs_of, random_samples, read_samples
from server import ModelServer, Settings
from signatures.contract import names

REQUESTS = 1000


@pytest.fixture(scope="module")
def client(digits_output):
    """A client of the exported digits, served in this process."""
    base_path = str(digits_output / "digits")
    with (
        ModelServer(Settings(model_name="digits", model_base_path=base_path)) as server,
        ServingClient(f"localhost:{server.port}", "digits") as client,
    ):
        yield client


@pytest.fixture(scope="module")
def samples(client, sample_images):
    return read_samples(sample_images, client.metadata(), client.info().preprocessing)


class Spy:
    """A transport that keeps the requests and the answers that pass."""

    def __init__(self, transport):
        self.passed = []
        self._transport = transport

    def send(self, method, request, timeout):
        response = self._transport.send(method, request, timeout)
        if method.endswith(("Predict", "Classify")):
            self.passed.append((method, request, response))
        return response

    def close(self):
        """The other client closes the connection."""


@pytest.fixture(scope="module")
def traffic(client, samples, tmp_path_factory):
    """A file with a thousand requests of every signature, and what was sent and answered."""
    path, spy = tmp_path_factory.mktemp("traffic") / "traffic.tfrecord", Spy(client.transport)
    keys = (names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K)
    random = np.random.default_rng(0)
    signatures = {key: client.metadata().signature(key) for key in keys}
    with (
        Recorder(path, answers=True) as record,
        ServingClient(client.address, "digits", transport=spy, record=record) as calls,
    ):
        for number, key in enumerate(islice(cycle((*keys, names.CLASSIFY)), REQUESTS)):
            count = int(random.integers(1, 4))
            chosen = [samples[(number + row) % len(samples)] for row in range(count)]
            k = (None, 1, random.integers(0, 4, count))[random.integers(3)]
            if key == names.CLASSIFY:
                asked = {} if k is None else {"k": 1}
                calls.classify([{names.IMAGE_FEATURE: sample.file, **asked} for sample in chosen])
            else:
                calls.predict(inputs_of(chosen, signatures[key]), None if key == names.FIXED_K else k, key)
    assert (record.recorded, record.dropped) == (REQUESTS, 0)
    return path, spy.passed


def answer(method, response):
    """An answer in a form that can be compared."""
    if method != PREDICT:
        return ClassificationResponse.FromString(response).result
    outputs = PredictResponse.FromString(response).outputs
    return {name: decode_tensor(tensor).tolist() for name, tensor in outputs.items()}


def test_a_thousand_requests_of_every_signature_are_sent_again_unchanged(client, traffic):
    path, passed = traffic
    recorded = list(recorded_requests(path))
    assert len(recorded) == len(passed) == REQUESTS
    for one, (method, request, response) in zip(recorded, passed, strict=True):
        assert one.method == method
        assert one.message() == type(one.message()).FromString(request)
        assert len(one.request) == len(request)
        assert answer(method, one.response) == answer(method, response)
        assert answer(method, client.transport.send(one.method, one.request, 10)) == answer(method, response)


def test_recorded_requests_are_samples_with_the_k_that_was_sent(client, traffic, samples):
    path, _ = traffic
    found = read_samples([path], client.metadata(), client.info().preprocessing)
    assert 1.8 * REQUESTS < len(found) < 2.2 * REQUESTS
    assert {sample.k for sample in found} == {None, 0, 1, 2, 3}
    np.testing.assert_array_equal(found[0].inputs[names.IMAGES], samples[0].inputs[names.IMAGES])
    answered = client.predict(inputs_of(found[:40], client.metadata().signature(names.TOP_K)), signature=names.TOP_K)
    kept = (answered[names.INDICES] != names.NO_INDEX).sum(axis=1)
    assert kept.tolist() == [2 if sample.k is None else sample.k for sample in found[:40]]


def test_recorded_requests_warm_up_a_version(traffic, digits_version, tmp_path):
    path, _ = traffic
    warmed = tmp_path / "digits" / "7"
    shutil.copytree(digits_version, warmed)
    shutil.copyfile(path, warmed / names.ASSETS_EXTRA / names.WARMUP_FILE)
    with (
        ModelServer(Settings(model_name="digits", model_base_path=str(warmed.parent))) as server,
        ServingClient(f"localhost:{server.port}", "digits") as client,
    ):
        assert [(status.version, status.state) for status in client.status()] == [(7, "AVAILABLE")]


def test_the_records_of_a_version_are_samples(client, digits_version):
    metadata, preprocessing = client.metadata(), client.info().preprocessing
    golden = read_samples([digits_version], metadata)
    warmup = read_samples([digits_version / names.ASSETS_EXTRA / names.WARMUP_FILE], metadata, preprocessing)
    assert len(golden) == 32
    assert all(sample.dense is not None for sample in golden)
    assert {sample.k for sample in warmup} == {None, 2}


def test_made_up_samples_are_answered_by_every_signature(client):
    metadata = client.metadata()
    made_up = random_samples(metadata, 5, preprocessing=client.info().preprocessing)
    for key in (names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K, names.ENCODED_IMAGES):
        answered = client.predict(inputs_of(made_up, metadata.signature(key)), signature=key)
        assert {len(array) for array in answered.values()} == {5}


def test_the_commands_take_recorded_traffic(client, traffic, tmp_path, capfd):
    path, _ = traffic

    def command(*arguments):
        status = run(["--address", client.address, "--model", "digits", *map(str, arguments), "--json"])
        return status, json.loads(capfd.readouterr().out)

    status, answer = command("bench", path, "--count", REQUESTS, "--warmup", "0", "--concurrency", "4")
    (result,) = answer["results"]
    assert (status, answer["inputs"], result["answered"], result["errors"]) == (0, "recorded", REQUESTS, {})
    short = tmp_path / "short.tfrecord"
    with Recorder(short) as record, ServingClient(client.address, "digits", record=record) as calls:
        calls.predict(read_samples([path], client.metadata(), client.info().preprocessing)[0].inputs, k=3)
    assert command("check", short)[0] == 0
    status, answer = command("predict", short)
    assert (status, len(answer["predictions"][0]["kept"])) == (0, 3)
