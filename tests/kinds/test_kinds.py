"""Every kind of model, from `export-model` to a promoted and rolled back version, through the command lines alone."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client import ServingClient
from client.cli.commands import run as serving_client
from exporter.cli import main as export_model
from exporter.deploy import write_server_files
from server import ModelServer, Settings

RANDOM = np.random.default_rng(0)


def rows(**inputs):
    """Write a .npz file: the shape of one row of each input, or what makes it."""

    def write(folder):
        arrays = {name: RANDOM.random((3, *shape)).astype(np.float32) for name, shape in inputs.items()}
        np.savez(folder / "rows.npz", **arrays)
        return folder / "rows.npz"

    return write


def lines(*values):
    """Write JSON lines."""

    def write(folder):
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(value) + "\n" for value in values))
        return path

    return write


def image(side):
    """Write an image."""

    def write(folder):
        Image.fromarray(RANDOM.integers(0, 256, (side, side, 3), np.uint8)).save(folder / "photo.png")
        return folder / "photo.png"

    return write


@dataclass(frozen=True)
class Kind:
    """A model, how it is exported, and what is sent to it."""

    factory: str
    samples: object
    labels: int
    export: tuple[str, ...] = ()
    inputs: set[str] = field(default_factory=lambda: {"features"})


SAVED_MODULE = ("--endpoint", "score", "--output-name", "scores", "--allow-unsafe")
# Minutes each, or taken the whole way by other tests too: README.md's images and texts, test_scalar_inputs.py's texts,
# test_two_heads.py; exporter/test_export.py holds the answers of lists of inputs and of logits against Keras.
SLOW = ("many_labels", "efficientnet", "cnn", "text", "two_heads", "image_and_table_in_a_list", "logits")
KINDS = [
    Kind("cnn", image(16), 20, ("--preprocessing", "unit"), {"photo"}),
    Kind("text", lines({"text": "word1 word7"}, {"text": "word3"}), 500, (), {"text"}),
    Kind("image_and_table", rows(image=(8, 8, 1), row=(5,)), 4, (), {"image", "row"}),
    Kind("image_and_table_in_a_list", rows(image=(8, 8, 1), row=(5,)), 4, (), {"image", "row"}),
    Kind("subclassed", rows(inputs=(3,)), 6, (), {"inputs"}),
    Kind("logits", rows(features=(7,)), 9, ("--activation", "sigmoid")),
    Kind("half", rows(features=(7,)), 5),
    Kind("tokens", lines([3, 7, 0], [1, 2, 3, 4, 5]), 6, ("--pad-to", "4,8", "--batching", "in-graph"), {"tokens"}),
    Kind("saved_module", rows(rows=(6,)), 5, SAVED_MODULE, {"rows"}),
    Kind("two_heads", rows(features=(6,)), 7, ("--output-name", "tags", "--also-output", "price")),
    Kind("many_labels", rows(features=(4,)), 100_000),
    Kind("efficientnet", image(64), 10, ("--preprocessing", "none"), {"image"}),
    Kind("int8", rows(features=(12,)), 8),
]


# Keras warns that inputs cannot be quantized.
@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method")
@pytest.mark.parametrize(
    "kind",
    [
        # `pytest -m slow tests/kinds` runs the others.
        pytest.param(kind, id=kind.factory, marks=[pytest.mark.slow] if kind.factory in SLOW else [])
        for kind in KINDS
    ],
)
def test_a_model_of_this_kind_is_exported_served_checked_and_promoted(kind, tmp_path, monkeypatch, capfd):
    output, source = tmp_path / "models", f"kinds_of_models:{kind.factory}"
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    if kind.factory == "saved_module":
        import kinds_of_models

        source = str(tmp_path / "scorer")
        kinds_of_models.save_module(source)
    arguments = [source, "--name", "model", "--k", "2", "--output", str(output), *kind.export]
    exported = CliRunner().invoke(export_model, arguments)
    assert exported.exit_code == 0, exported.output
    shutil.copytree(output / "model" / "1", output / "model" / "2")
    write_server_files(output, "model", 2)
    config = output / "deploy" / "local" / "models.config"
    with ModelServer(Settings(model_config_file=config, allow_version_labels_for_unavailable_models=True)) as server:
        with ServingClient(f"localhost:{server.port}", "model") as both:
            for version in (1, 2):
                both.wait_until_ready(version=version, timeout=120)
        connection = ["--address", f"localhost:{server.port}", "--model", "model", "--timeout", "60"]

        def client(*arguments):
            capfd.readouterr()
            status = serving_client([*connection, *map(str, arguments)])
            out, err = capfd.readouterr()
            assert status == 0, out + err
            return json.loads(out) if "--json" in arguments else out

        signatures = client("metadata", "--json")["signatures"]
        assert set(signatures["serving_default"]["inputs"]) - {"k", "min_score"} == kind.inputs
        assert len(client("info", "--json")["labels"]) == kind.labels
        samples = kind.samples(tmp_path)
        predictions = client("predict", samples, "--k", "3", "--json")["predictions"]
        assert {len(one["kept"]) for one in predictions} == {3}
        golden = output / "model" / "2"
        assert client("check", samples, "--golden", golden, "--json")["passed"]
        client("bench", samples, "--duration", "1", "--warmup", "0.1")
        move = ("--label", "stable", "--config", config, "--yes")
        client("promote", "--version", "2", *move)
        assert client("predict", samples, "--label", "stable")
        client("rollback", *move)
