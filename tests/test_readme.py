"""The README's first commands, run as they stand there."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client.cli.commands import run as serving_client
from exporter.cli import main as export_model
from server import ModelServer, Settings
from server.cli import main as serve_model

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
FIRST_SCREEN = README.partition("make demo")[0]


def commands(program):
    """The lines of a program on the first screen, as lists of arguments."""
    return [shlex.split(line) for line in re.findall(rf"^    .*?({program} [^|&\n]*)", FIRST_SCREEN, re.MULTILINE)]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """The working directory of somebody who has two trained models."""
    import keras

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    keras.utils.set_random_seed(1)
    photo = keras.Input((16, 16, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(8, 3, activation="relu")(photo))
    keras.Model(photo, keras.layers.Dense(4, "sigmoid")(pooled)).save("photos.keras")
    said = keras.Input((), dtype="string", name="text")
    words = ["the", "wheel", "came", "off", "a", "good", "day", "bad", "service"]
    counted = keras.layers.TextVectorization(vocabulary=words, output_mode="multi_hot")(said)
    keras.Model(said, keras.layers.Dense(5, "sigmoid", kernel_initializer="random_normal")(counted)).save(
        "reviews.keras"
    )
    Path("animals.txt").write_text("cat\ndog\nowl\nfox\n")
    Path("topics.txt").write_text("brakes\nservice\nprice\nstaff\nweather\n")
    Path("reviews.jsonl").write_text('{"text": "the wheel came off"}\n{"text": "a good day"}\n')


def test_the_first_screen_works_as_it_stands(models, monkeypatch, capfd):
    photos, reviews = commands("export-model")
    for _, *arguments in (photos, reviews):
        done = CliRunner().invoke(export_model, arguments)
        assert done.exit_code == 0, done.output
    ((_, *flags),) = commands("serve-model")
    flags = [flag.replace("$PWD", str(Path.cwd())).replace("8500", "0") for flag in flags]
    with serve_model.make_context("serve-model", flags) as context:
        settings = Settings(**context.params)
    check, predict = commands("serving-client")
    with ModelServer(settings) as server:
        address = f"localhost:{server.port}"
        assert serving_client([part.replace("localhost:8500", address) for part in check[1:]]) == 0
        piped = re.search(r"echo '(.*)' \|", FIRST_SCREEN).group(1)
        Path("piped.jsonl").write_text(piped)
        arguments = ["piped.jsonl" if part == "-" else part.replace("localhost:8500", address) for part in predict[1:]]
        capfd.readouterr()
        assert serving_client([*arguments, "--json"]) == 0
    (prediction,) = json.loads(capfd.readouterr().out)["predictions"]
    assert prediction["sample"] == json.loads(piped)["text"]
    assert 0 < len(prediction["kept"]) <= 2
    assert np.all([kept["score"] >= 0.2 for kept in prediction["kept"]])
