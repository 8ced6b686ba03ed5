"""A promotion rehearsed on this machine, with the line that export-model prints."""

import json
import shlex
import shutil

import pytest
from google.protobuf import text_format

from client import ServingClient
from client.cli import run

pytest.importorskip("tensorflow", reason="exporting needs TensorFlow")


def labels(config):
    from tensorflow_serving.config import model_server_config_pb2

    parsed = text_format.Parse(config.read_text(), model_server_config_pb2.ModelServerConfig())
    (entry,) = parsed.model_config_list.config
    return dict(entry.version_labels)


def test_a_rehearsed_promotion_moves_the_local_label_and_no_other(digits_version, tmp_path, capsys, sample_images):
    from exporter.deploy import write_server_files
    from server import ModelServer, Settings
    from server.cli import main

    for version in (1, 2):
        shutil.copytree(digits_version, tmp_path / "digits" / str(version))
        files = write_server_files(tmp_path, "digits", version)
    deployed, local = tmp_path / "deploy" / "models.config", tmp_path / "deploy" / "local" / "models.config"
    before = deployed.read_bytes()
    command, *flags = shlex.split(files.serve_model)
    with main.make_context(command, [*flags, "--port=0", "--rest_api_port=0"]) as context:
        settings = Settings(**context.params)

    with ModelServer(settings) as server:
        with ServingClient(f"localhost:{server.port}", "digits") as client:
            for version in (1, 2):
                client.wait_until_ready(version=version, timeout=60)
        promote = ["promote", "--version=2", "--label=stable", f"--config={local}", "--yes", "--json"]
        limits = [f"--samples={sample_images[0].parent}", "--max-exact-match-drop=0.01", "--max-latency-ratio=50"]
        status = run([f"--address=localhost:{server.port}", "--model=digits", *promote, *limits])

    told = capsys.readouterr()
    assert status == 0, told.err
    compared = json.loads(told.out)["compared"]
    exact, _ = compared["quality"]
    assert (exact["samples"], exact["before"], exact["low"], exact["high"]) == (32, exact["after"], 0, 0)
    assert (compared["answers"]["changed_sets"], compared["latency"]["passed"]) == (0, True)
    assert labels(local) == {"stable": 2, "canary": 2}
    assert deployed.read_bytes() == before
    # What a promotion leaves beside its file is beside the local one.
    assert {file.name for file in deployed.parent.glob("models.config*")} == {"models.config"}

    write_server_files(tmp_path, "digits", 2)
    assert labels(local) == {"stable": 1, "canary": 2}
