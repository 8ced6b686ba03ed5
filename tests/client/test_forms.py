"""Which signatures a check asks, where only some were exported. One that it left out used to fail, or to pass."""

import json
from dataclasses import replace
from itertools import chain, combinations

import numpy as np
import pytest
from PIL import Image

from client import ServingClient
from client.check.three_questions import check
from client.cli.commands import run
from client.rpc.metadata import Target
from client.samples.golden import read_golden
from signatures.contract import names

FILES = (names.CLASSIFY, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K)
OPTIONAL = (names.FIXED_K, names.TOP_K, *FILES)


def subsets(keys):
    return list(chain.from_iterable(combinations(keys, size) for size in range(len(keys) + 1)))


def called(keys):
    return "+".join(keys) or "none"


@pytest.fixture
def serve(fake, tmp_path):
    """A function from the optional signatures to a model, the directory of its version and a client of its server."""
    opened = []

    def start(keys, **attributes):
        model = fake.Model()
        model.takes_files, model.keys = True, keys
        for name, value in attributes.items():
            setattr(model, name, value)
        version = fake.publish(model, tmp_path / "letters")
        server = fake.Server(model)
        client = ServingClient(server.address, "letters")
        opened.append((client, server))
        return model, version, client

    yield start
    for client, server in opened:
        client.close()
        server.stop()


def answers(result):
    return {one.signature: one.answers for one in result.signatures if one.signature != names.EXPORT_INFO}


@pytest.mark.parametrize("keys", subsets(OPTIONAL), ids=called)
def test_every_signature_is_asked_in_any_combination(serve, keys):
    _, version, client = serve(keys)
    result = client.check(version)
    assert result.passed, result
    assert result.not_asked == ()
    assert set(answers(result)) == {names.SERVING_DEFAULT, *keys}
    assert all(answers(result).values())


@pytest.mark.parametrize(
    ("keys", "wrong"), [(keys, wrong) for keys in subsets(FILES) for wrong in keys], ids=lambda value: str(value)
)
def test_a_wrong_head_is_seen_in_any_combination(serve, keys, wrong):
    model, version, client = serve(keys)
    right, classified = model.predict, model.classify

    def predict(signature, inputs):
        more = {names.K: inputs[names.K] + 1} if signature == wrong and names.K in inputs else {}
        return right(signature, inputs | more)

    model.predict = predict
    if wrong == names.CLASSIFY:
        model.classify = lambda examples: [array[:, ::-1] for array in classified(examples)]
    result = client.check(version)
    assert result.head.passed is False
    assert result.head.first_fault.signature == wrong


@pytest.mark.parametrize("keys", subsets(FILES)[1:], ids=called)
def test_wrongly_decoded_files_are_seen_in_any_combination(serve, keys):
    model, version, client = serve(keys)
    right = model.decode
    model.decode = lambda files: right(files) + np.float32(1 / 255)
    result = client.check(version)
    assert (result.identity.passed, result.backbone.passed) == (True, False)


def test_dense_scores_are_refused_where_not_every_label_is_listed(serve):
    model, version, client = serve([names.ENCODED_IMAGES_TOP_K])
    right = model.listed
    model.listed = lambda dense, k: (
        right(dense, k) | {names.INDICES: np.minimum(right(dense, k)[names.INDICES], 6).astype(np.int32)}
    )
    result = client.check(version)
    assert not result.passed
    assert "should list each of the 8 indices once" in result.backbone.first_fault.message


@pytest.mark.parametrize("keys", [(names.CLASSIFY,), FILES], ids=called)
def test_classes_that_are_called_the_same_are_told_apart_by_their_scores(serve, keys):
    model, version, client = serve(keys, labels=tuple("aabbcdef"))
    result = client.check(version)
    assert result.passed, result
    assert answers(result)[names.CLASSIFY]
    right = model.classify
    model.classify = lambda examples: [array[:, ::-1] for array in right(examples)]
    assert client.check(version).head.passed is False


@pytest.fixture
def unaskable(serve):
    """A server with file signatures, and golden records of samples that are no images."""

    def start():
        model, version, client = serve([names.ENCODED_IMAGES, names.TOP_K])
        golden = version / names.ASSETS_EXTRA / names.EXPORT_FILE
        record = json.loads(golden.read_text())
        model.preprocessing = record["preprocessing"] = "tf"  # these samples then have no pixels
        golden.write_text(json.dumps(record))
        return version, client

    return start


def test_a_signature_that_was_not_asked_is_named_in_the_verdict_the_json_and_the_page(unaskable, tmp_path, capfd):
    version, client = unaskable()
    page = tmp_path / "page.html"
    arguments = ["--address", client.address, "--model", "letters", "check", "--golden", str(version)]
    assert run([*arguments, "--report", str(page)]) == 0
    out = capfd.readouterr().out
    assert " ".join(out.split()).endswith("Not asked: encoded_images.")
    assert "takes image files, and no sample is an image file" in " ".join(out.split())
    assert "Not asked: encoded_images." in page.read_text()
    assert run([*arguments, "--json"]) == 0
    (left_out,) = json.loads(capfd.readouterr().out)["not_asked"]
    assert left_out["signature"] == names.ENCODED_IMAGES
    assert "image files" in left_out["reason"]


def test_signatures_that_take_files_are_asked_with_those_samples_that_are_some(unaskable, tmp_path, capfd):
    version, client = unaskable()
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / "own.png")
    arguments = ["--address", client.address, "--model", "letters", "check", "--golden", str(version), "--json"]
    assert run([*arguments, str(tmp_path / "own.png")]) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["not_asked"] == []
    assert {one["signature"] for one in answer["signatures"]} >= {names.ENCODED_IMAGES}
    assert answer["head"]["records"] == 10


def test_images_that_are_no_jpeg_or_png_are_sent_as_files_all_the_same(serve, tmp_path, capfd):
    _, _, client = serve([names.ENCODED_IMAGES])
    Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)).save(tmp_path / "own.bmp")
    arguments = ["--address", client.address, "--model", "letters", "check", str(tmp_path / "own.bmp"), "--json"]
    assert run(arguments) == 0
    answer = json.loads(capfd.readouterr().out)
    assert answer["not_asked"] == []
    assert {one["signature"] for one in answer["signatures"]} >= {names.ENCODED_IMAGES}


def test_without_an_identity_every_signature_is_named_as_not_asked(serve):
    model, version, client = serve([names.TOP_K])
    reference = replace(read_golden(version), export=None)
    model.info = lambda probe: {}
    result = client.run(check(client.address, Target("letters"), reference))
    assert not result.passed
    assert result.verdict.endswith("Not asked: serving_default, top_k.")


def test_a_preprocessing_that_is_not_known_here_leaves_file_signatures_unasked(serve):
    _, version, client = serve([names.ENCODED_IMAGES], preprocessing="of tomorrow")
    result = client.check(version)
    assert result.passed
    assert [one.signature for one in result.not_asked] == [names.ENCODED_IMAGES]


def test_a_signature_of_other_inputs_or_outputs_is_not_asked_and_says_why(serve):
    model, version, client = serve([names.TOP_K])
    stated = model.declared()
    method, outputs = stated[names.TOP_K]["method"], stated[names.TOP_K]["outputs"]
    ids = {"ids": {"dtype": "int64", "shape": [-1]}}
    stated["other_inputs"] = {"method": method, "inputs": ids, "outputs": outputs}
    stated["other_outputs"] = {**stated[names.TOP_K], "outputs": {"embedding": outputs[names.SCORES]}}
    model.declared = lambda: stated
    result = client.check(version)
    assert result.passed
    reasons = {one.signature: one.reason for one in result.not_asked}
    assert reasons == {
        "other_inputs": "it takes ids, and the samples are of images",
        "other_outputs": "the check cannot judge a signature that answers embedding",
    }
