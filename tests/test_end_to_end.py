"""From a Keras model to a checked answer: the three commands together, and what the check says of wrong servers."""

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client import ServingClient
from exporter import ExportOptions, SourceOptions, export, load_classifier
from server import ModelServer, Settings
from signatures.contract.record import ExportRecord

BIN = Path(sys.executable).parent


# A tensorflow_model_server to ask instead of our stand-in.
REAL_SERVER = os.environ.get("MODEL_SERVER", "")


def client(address, *arguments):
    return subprocess.run(
        [BIN / "serving-client", "--address", address, "--model", "digits", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def serving(base_path, port):
    """The address of a server of these digits; ours runs in this process, at a port of its own choice."""
    if not REAL_SERVER:
        with ModelServer(Settings(model_name="digits", model_base_path=str(base_path))) as server:
            yield f"localhost:{server.port}"
        return
    flags = [f"--port={port}", "--model_name=digits", f"--model_base_path={base_path}"]
    process = subprocess.Popen([REAL_SERVER, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with ServingClient(f"localhost:{port}", "digits") as served:
            served.wait_until_ready(timeout=120)
        yield f"localhost:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def serve_model(base_path):
    """The same through the command `serve-model`, as a user starts it."""
    command = [BIN / "serve-model", "--port=0", "--model_name=digits", f"--model_base_path={base_path}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield next(
            f"localhost:{found[1]}" for line in process.stdout if (found := re.match(r"Running .*:(\d+) ", line))
        )
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.stdout.close()
        process.wait()


@pytest.fixture(scope="module")
def address(digits_output, free_port):
    """The address of a server of the exported digits."""
    base_path = digits_output / "digits"
    with serving(base_path, free_port()) if REAL_SERVER else serve_model(base_path) as address:
        yield address


def test_check_passes_on_what_was_exported(address, digits_version):
    done = client(address, "check", "--golden", digits_version, "--json")

    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["passed"]
    for question in ("identity", "backbone", "head"):
        assert verdict[question]["passed"], question
    assert verdict["backbone"]["records"] == verdict["head"]["records"] == 32


def test_predict_keeps_at_most_two_of_the_eight_labels(address, sample_images):
    done = client(address, "predict", "--json", *sample_images)

    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)["predictions"]
    assert len(answers) == 32
    right = 0
    truth = json.loads((sample_images[0].parent / "labels.json").read_text())
    for answer in answers:
        assert len(answer["kept"]) <= 2
        said = {each["label"] for each in answer["kept"] if each["score"] >= 0.5}
        right += said == set(truth[Path(answer["picture"]).name])
    assert right >= 29


def test_info_and_metadata_tell_who_is_served(address, digits_version):
    record = json.loads((digits_version / "assets.extra" / "export.json").read_text())

    info = json.loads(client(address, "info", "--json").stdout)
    assert info["export_id"] == record["export_id"]
    assert info["labels"] == list("01234567")
    signatures = json.loads(client(address, "metadata", "--json").stdout)["signatures"]
    assert {key: set(served["inputs"]) for key, served in signatures.items()} == {
        key: set(exported["inputs"]) for key, exported in record["signatures"].items()
    }


def test_bad_tensors_get_invalid_argument_and_the_server_lives(address):
    from client.errors import ServerError

    with ServingClient(address, "digits") as served:
        for images, expected in (
            (np.zeros((1, 32), np.float32), r"expected shape \[\?,32,32,1\]"),
            (np.zeros((1, 16, 32, 1), np.float32), r"expected shape \[\?,32,32,1\]"),
            (np.zeros((1, 32, 32, 1), np.float64), "float"),
        ):
            with pytest.raises(ServerError, match=expected) as refused:
                served.predict({"images": images}, validate=False)
            assert refused.value.code.name == "INVALID_ARGUMENT"
            good = served.predict(np.zeros((1, 32, 32, 1), np.float32), k=8)
            assert good["probabilities"].shape == (1, 8)


def test_nobody_listening_is_status_3_in_one_sentence(digits_version):
    done = subprocess.run(
        [
            BIN / "serving-client",
            "--address=localhost:1",
            "--model=digits",
            "--timeout=2",
            "check",
            "--golden",
            digits_version,
        ],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 3
    assert len(done.stderr.strip().splitlines()) == 1


def forge(output, *, like, k=2, change=None, labels=()):
    """Publish a wrong version as if it were `like`: not validated, and under its export id where that is given."""
    classifier = load_classifier("digits", SourceOptions(labels=labels))
    if change:
        change(classifier.model)
    export(classifier, output, k=k, validations={}, export_id=ExportRecord.read(like).export_id if like else None)


def raise_last_bias(model):
    bias = model.layers[-1].bias
    bias.assign(bias + 0.1)


@pytest.fixture
def check(free_port):
    """A function that serves what is in an output directory, and checks it."""

    def run(output, golden):
        with serving(output / "digits", free_port()) as address, ServingClient(address, "digits") as served:
            return served.check(golden)

    return run


def test_the_check_finds_a_bias_that_is_a_tenth_higher(tmp_path, digits_version, free_port):
    forge(tmp_path, like=digits_version, change=raise_last_bias)
    with serving(tmp_path / "digits", free_port()) as address:
        with ServingClient(address, "digits") as served:
            result = served.check(digits_version)
        done = client(address, "check", "--golden", digits_version)
    assert done.returncode == 1
    assert "backbone" in done.stdout
    assert "record 0" in done.stdout.replace("\n", " ")
    assert not result.passed
    assert not result.backbone.passed
    assert result.backbone.first_fault.record == 0
    assert result.head.passed


def compute_in_bfloat16(model):
    import keras

    for layer in model.layers:
        layer.dtype_policy = keras.DTypePolicy("mixed_bfloat16")


def test_the_check_finds_a_backbone_computed_in_bfloat16(check, tmp_path, digits_version):
    forge(tmp_path, like=digits_version, change=compute_in_bfloat16)
    result = check(tmp_path, digits_version)
    assert result.backbone.passed is False
    assert result.backbone.largest_difference > 1e-3
    assert result.head.passed


def test_the_check_finds_labels_in_another_order(check, tmp_path, digits_version):
    forge(tmp_path, like=digits_version, labels=tuple("10234567"))
    result = check(tmp_path, digits_version)
    assert not result.identity.passed
    assert "labels" in str(result.identity.first_fault)
    assert result.backbone.passed


def test_the_check_finds_another_default_k(check, tmp_path, digits_version):
    forge(tmp_path, like=digits_version, k=3)
    result = check(tmp_path, digits_version)
    assert not result.identity.passed
    assert not result.head.passed
    assert result.head.first_fault.k == "left out"
    assert result.head.first_fault.record == 0
    assert result.backbone.passed


def test_the_check_finds_a_head_that_keeps_one_more(check, tmp_path, monkeypatch, digits_version):
    import signatures.output_forms

    right = signatures.output_forms.sparsify_top_k
    monkeypatch.setattr(
        "signatures.output_forms.sparsify_top_k", lambda dense, k, *bounds: right(dense, k + 1, *bounds)
    )
    forge(tmp_path, like=digits_version)
    result = check(tmp_path, digits_version)
    assert result.backbone.passed
    assert not result.head.passed
    assert "3 scores are not zero, at most 2" in str(result.head.first_fault)


def test_the_check_finds_that_it_is_another_export(check, tmp_path, digits_version):
    forge(tmp_path, like=None)
    result = check(tmp_path, digits_version)
    assert not result.identity.passed
    assert "export" in str(result.identity.first_fault)
    assert result.backbone.passed
    assert result.head.passed


@pytest.mark.parametrize("key", ["classify", "encoded_images_top_k"])
def test_a_signature_of_picture_files_is_asked_where_it_is_the_only_one(check, tmp_path, key):
    version = export(load_classifier("digits"), tmp_path, k=2, options=ExportOptions(signatures=(key,)))
    result = check(tmp_path, version.path)
    assert result.passed, result
    assert result.not_asked == ()
    assert key in {one.signature for one in result.signatures if one.answers}
