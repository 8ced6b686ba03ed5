"""An image model that calls its input as it likes: exported, served, called, checked and measured by that name."""

import json

import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

import keras
import numpy as np
from click.testing import CliRunner

from client import ServingClient
from client.cli.commands import run
from exporter.cli import main
from server import ModelServer, Settings


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    keras.utils.set_random_seed(4)
    pixels = keras.Input((32, 32, 1), name="pixels")
    scores = keras.layers.Dense(8, activation="sigmoid")(keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(pixels)))
    file = tmp_path_factory.mktemp("model") / "photos.keras"
    keras.Model(pixels, scores).save(file)
    return file


@pytest.fixture(scope="module", params=["pixels", "images"])
def served(request, model_file, tmp_path_factory):
    """The name of the input, the published version, and the address of a server of it."""
    output = tmp_path_factory.mktemp("models")
    command = [str(model_file), f"--output={output}", "--preprocessing=unit", "--json"]
    renamed = [] if request.param == "pixels" else [f"--input-name=pixels={request.param}"]
    done = CliRunner().invoke(main, [*command, *renamed])
    assert done.exit_code == 0, done.output
    with ModelServer(Settings(model_name="photos", model_base_path=str(output / "photos"))) as server:
        yield request.param, output / "photos" / "1", f"localhost:{server.port}"


def test_every_command_follows_the_models_own_name(served, sample_images, capfd):
    name, version, address = served
    connection = ["--address", address, "--model", "photos"]
    for command in (
        ["check", "--golden", version, *sample_images[:2], "--json"],
        ["predict", *sample_images[:2], "--json"],
        ["bench", "--count", "5", "--warmup", "0", "--json"],
    ):
        assert run([*connection, *map(str, command)]) == 0, capfd.readouterr().err
        answer = json.loads(capfd.readouterr().out)
        assert answer.get("not_asked", []) == []
    with ServingClient(address, "photos") as client:
        assert set(client.metadata().signature("fixed_k").inputs) == {name}
        assert client.predict({name: np.zeros((2, 32, 32, 1), np.float32)}, k=3)["probabilities"].shape == (2, 8)


def test_a_name_without_an_equals_sign_is_wrong_usage(model_file, tmp_path):
    done = CliRunner().invoke(main, [str(model_file), f"--output={tmp_path}", "--input-name", "pixels"])
    assert done.exit_code == 2
    assert "--input-name is 'pixels'; use OLD=NEW, as in --input-name pixels=images." in done.output.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
