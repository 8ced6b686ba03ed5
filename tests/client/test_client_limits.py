"""min_score as a caller sends it: its forms, its default, and servers that do not take it."""

import asyncio
import json

import numpy as np
import pytest

from client import AsyncServingClient, InputError, ServingClient
from client.cli.commands import run
from client.rpc.metadata import ExportInfo
from signatures.contract import names


@pytest.fixture
def client(server):
    with ServingClient(server.address, "letters", timeout=30) as client:
        yield client


def predictions(server):
    return [each.inputs for each in server.requests if each.signature != names.EXPORT_INFO]


@pytest.mark.parametrize("min_score", [0.3, np.float32(0.3), np.float64(0.3), [0.3] * 5, np.full(5, 0.3), [0.3], -1, 1])
def test_min_score_is_a_number_or_one_per_example_and_is_sent_as_one_per_example(client, server, images, min_score):
    client.predict(images, min_score=min_score)
    (inputs,) = predictions(server)
    np.testing.assert_array_equal(inputs[names.MIN_SCORE], np.full(5, np.reshape(min_score, -1)[0], np.float32))
    assert inputs[names.MIN_SCORE].dtype == np.float32
    assert names.K not in inputs


def test_what_is_below_is_zero_and_lists_are_as_wide_as_k(client, images):
    plain = client.predict(images, k=4)["probabilities"]
    bounded = client.predict(images, k=4, min_score=0.6)["probabilities"]
    np.testing.assert_array_equal(bounded, np.where(plain >= np.float32(0.6), plain, 0))
    listed = client.predict(images, k=4, min_score=[0.0, 0.6, 2.0, 0.5, 0.9], signature="top_k")
    assert listed["indices"].shape == (5, 4)
    assert (listed["indices"][2] == -1).all()
    assert (listed["indices"][0] >= 0).all()


@pytest.mark.parametrize("min_score", [np.nan, np.inf, -np.inf, 1e300, "0.5", [0.5, None], True, 1j])
def test_what_is_no_finite_number_is_refused_before_it_is_sent(client, server, images, min_score):
    with pytest.raises(InputError, match=r"min_score is .*: it must be a finite number, or one for each example"):
        client.predict(images, min_score=min_score)
    assert predictions(server) == []


@pytest.mark.parametrize("min_score", [[0.1, 0.2], [[0.1]] * 5, []])
def test_one_that_fits_no_batch_is_refused(client, images, min_score):
    with pytest.raises(InputError, match=r"min_score has shape .*: pass one number, or one for each of the 5 examples"):
        client.predict(images, min_score=min_score)


def test_a_signature_without_limits_says_so(client, images):
    with pytest.raises(InputError, match="signature fixed_k takes no min_score: leave it out"):
        client.predict(images, signature="fixed_k", min_score=0.5)


def test_an_older_export_is_named_in_one_sentence_and_serves_all_else(client, model, images):
    model.takes_min_score = False
    with pytest.raises(InputError) as error:
        client.predict(images, min_score=0.5)
    assert str(error.value) == (
        "signature serving_default takes k but no min_score, as the served model was exported before there was one: "
        "leave min_score out, or export the model again"
    )
    assert client.predict(images, k=3)["probabilities"].shape == (5, 8)
    assert (client.info().min_score, client.info().thresholds) == (0.0, ())


@pytest.mark.parametrize("given", [{}, {"k": 3}, {"min_score": 0.4}])
@pytest.mark.parametrize("tells_defaults", [True, False])
def test_a_batching_server_gets_every_default_per_example(client, model, server, images, given, tells_defaults):
    model.batching, model.tells_default_k = True, tells_defaults
    model.min_score = model.default_min_score = 0.25
    for _ in range(2):
        client.predict(images, **given)
    sent = predictions(server)[-1]
    assert sent[names.K].tolist() == [given.get("k", 2)] * 5
    np.testing.assert_array_equal(sent[names.MIN_SCORE], np.full(5, given.get("min_score", 0.25), np.float32))


def test_without_validation_it_is_sent_all_the_same(client, server, images):
    client.predict({names.IMAGES: images}, min_score=0.5, validate=False)
    assert predictions(server)[0][names.MIN_SCORE].tolist() == [0.5] * 5


def test_it_may_be_passed_among_the_inputs(client, server, images):
    client.predict({names.IMAGES: images, names.MIN_SCORE: np.float32(0.5)})
    assert predictions(server)[0][names.MIN_SCORE].tolist() == 0.5


def test_the_asyncio_client_takes_it_too(server, images):
    async def ask():
        async with AsyncServingClient(server.address, "letters") as client:
            return await client.predict(images, 8, min_score=0.5)

    answer = asyncio.run(ask())["probabilities"]
    assert (answer[answer != 0] >= 0.5).all()
    assert (answer == 0).any()


def test_the_identity_says_min_score_as_it_was_given_and_thresholds(client, model):
    model.min_score, model.thresholds = 0.3, (0.5,) + (0.0,) * 7
    info = client.info()
    assert (info.min_score, info.thresholds) == (0.3, (0.5, *[0.0] * 7))
    assert ExportInfo("0" * 32, "m", 1, ("a",), None, "0" * 64).thresholds == ()


def command(server, *arguments):
    return run(["--address", server.address, "--model", "letters", *arguments])


@pytest.fixture
def picture(tmp_path):
    from PIL import Image

    Image.fromarray(np.random.default_rng(3).integers(0, 256, (4, 4), np.uint8)).save(tmp_path / "picture.png")
    return str(tmp_path / "picture.png")


def test_predict_keeps_no_less_than_its_min_score(server, picture, capsys):
    assert command(server, "predict", picture, "--k", "8", "--min-score", "0.5", "--json") == 0
    kept = json.loads(capsys.readouterr().out)["predictions"][0]["kept"]
    assert 0 < len(kept) < 8
    assert min(each["score"] for each in kept) >= 0.5
    assert command(server, "predict", picture, "--min-score", "nan") == 2


def test_bench_sends_it_and_compares_only_runs_that_sent_the_same(server, tmp_path, capsys):
    load = ("bench", "--count", "3", "--warmup", "0", "--json")
    assert command(server, *load, "--min-score", "0.5") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["min_score"] == 0.5
    assert predictions(server)[-1][names.MIN_SCORE].tolist() == [0.5]
    (tmp_path / "before.json").write_text(printed)
    assert command(server, *load, "--min-score", "0.5", "--baseline", str(tmp_path / "before.json")) == 0
    assert command(server, *load, "--baseline", str(tmp_path / "before.json")) == 2
    assert "min_score 0.5, not left out" in capsys.readouterr().err


def test_bench_sends_both_defaults_to_a_server_that_batches(model, server):
    model.batching, model.min_score = True, 0.25
    assert command(server, "bench", "--count", "2", "--warmup", "0", "--batch", "3") == 0
    sent = predictions(server)[-1]
    assert (sent[names.K].tolist(), sent[names.MIN_SCORE].tolist()) == ([2] * 3, [0.25] * 3)


def test_info_shows_the_limits(model, server, capsys):
    model.min_score, model.thresholds = 0.3, (0.5, 0.25) + (0.0,) * 6
    assert command(server, "info") == 0
    shown = capsys.readouterr().out
    assert "0.3" in shown
    assert "a 0.5, b 0.25" in shown


def test_emit_request_writes_it_for_rest_and_grpc(server, picture, tmp_path):
    output = tmp_path / "request"
    assert command(server, "emit-request", picture, "--min-score", "0.5", "--output", str(output)) == 0
    (instance,) = json.loads((output / "request.json").read_text())["instances"]
    assert (instance["k"], instance["min_score"]) == (2, 0.5)
