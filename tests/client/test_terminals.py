"""What the command prints where a terminal can show ASCII alone: text, and no traceback."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

MAIN = "from client.cli.commands import main; main()"
ASCII = {
    "PYTHONIOENCODING": {"PYTHONIOENCODING": "ascii"},
    "LC_ALL": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}
LABELS = ("café", "日本", *"cdefgh")


@pytest.fixture
def unusual(model, fake, tmp_path):
    """A server whose labels are not ASCII, and the models.config that it was started with."""
    model.labels = LABELS
    version = fake.publish(model, tmp_path / "letters")
    server = fake.Server(model)
    server.labels = {"stäble": 1}
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "letters" base_path: "{version.parent}" '
        'version_labels { key: "stäble" value: 1 } } }',
        "utf-8",
    )
    yield server, version, config
    server.stop()


@pytest.fixture(params=ASCII)
def terminal(request, unusual):
    server, _, _ = unusual

    def call(*arguments):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LC_")}
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "--address", server.address, "--model", "letters", *map(str, arguments)],
            env=environment | ASCII[request.param],
            capture_output=True,
            check=False,
        )
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        return done.returncode, done.stdout, done.stderr

    return call


def test_every_command_prints_ascii(terminal, unusual, tmp_path):
    _, version, config = unusual
    picture = tmp_path / "café.png"
    Image.fromarray(np.full((4, 4), 90, np.uint8)).save(picture)
    move = ("promote", "--version", "1", "--label", "stäble", "--config", config, "--yes")
    for arguments in (
        ("status",),
        ("metadata",),
        ("info",),
        ("predict", picture, "--k", "8"),
        ("check", "--golden", version),
        ("check", picture),
        ("bench", "--count", "5", "--warmup", "0"),
        move,
    ):
        status, out, _ = terminal(*arguments)
        assert status == 0, arguments
        assert out.isascii(), arguments
        assert json.loads(terminal(*arguments, "--json")[1])


def test_bars_and_boxes_are_drawn_and_labels_spelled_out(terminal, tmp_path):
    Image.fromarray(np.full((4, 4), 90, np.uint8)).save(tmp_path / "gray.png")
    _, out, _ = terminal("predict", tmp_path / "gray.png", "--k", "8")
    assert b"caf\\xe9" in out
    assert b"##" in out
    assert b"+--" in out


def test_a_sentence_about_what_is_not_ascii_is_printed_too(terminal):
    status, _, err = terminal("info", "--label", "stäbel")
    assert status == 2
    assert err.isascii()
    assert b"st" in err
    assert terminal("check", "bögus.png")[0] == 2
