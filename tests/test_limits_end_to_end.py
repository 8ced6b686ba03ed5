"""min_score and thresholds from `export-model` to answers over gRPC and REST, of pixels, files and tf.Examples."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client import ServingClient
from client.cli.commands import run
from exporter import ExportOptions, export, load_classifier
from server import ModelServer, Settings

THRESHOLDS = {"0": 0.9, "1": 0.25, "7": 0.999}


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    output = tmp_path_factory.mktemp("limits")
    options = ExportOptions(min_score=0.01, thresholds=THRESHOLDS)
    return export(load_classifier("digits"), output, k=3, options=options).path


@pytest.fixture(scope="module")
def server(version, free_port):
    settings = Settings(model_name="digits", model_base_path=str(version.parent), rest_api_port=free_port())
    with ModelServer(settings) as server:
        yield server


def test_the_check_passes_over_grpc_and_rest_and_asks_every_signature(server, version, capfd):
    address = ["--address", f"localhost:{server.port}", "--model", "digits"]
    rest = ["--rest", f"localhost:{server.rest_port}"]
    status = run([*address, "check", "--golden", str(version), *rest, "--json"])
    answer = json.loads(capfd.readouterr().out)
    assert (status, answer["passed"], answer["rest"]["passed"], answer["not_asked"]) == (0, True, True, [])
    asked = {each["signature"] for each in answer["signatures"]}
    assert {"dense", "encoded_images_dense", "encoded_images_top_k", "classify", "fixed_k"} <= asked


def test_files_pixels_and_examples_keep_the_same(server, sample_images):
    files = np.array([path.read_bytes() for path in sample_images], object)
    bounds = np.array([THRESHOLDS.get(str(label), 0) for label in range(8)], np.float32)
    with ServingClient(f"localhost:{server.port}", "digits") as client:
        dense = client.predict(files, signature="encoded_images_dense")["dense_probabilities"]
        kept = client.predict(files, k=8, min_score=0.5, signature="encoded_images")["probabilities"]
        np.testing.assert_array_equal(kept, np.where(dense >= np.maximum(bounds, 0.5), dense, 0))
        classes = client.classify([{"image/encoded": file, "min_score": 0.5} for file in files])
    ranked = np.argsort(-dense, axis=1, kind="stable")[:, :3]
    for row, found in enumerate(classes):
        expected = [str(index) for index in ranked[row] if kept[row, index] != 0]
        assert [label for label, _ in found if label] == expected
