"""Runs the examples in docstrings."""

import ast
import asyncio
import doctest
import importlib
import io
import json
from pathlib import Path
from typing import get_origin

import grpc
import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import client
import exporter
import server
import signatures
from client.samples import Sample, random_samples
from client.testing import MockTransport
from signatures.contract.tolerances import CPU

ROOT = Path(__file__).parents[2]
PACKAGES = (signatures, client, server, exporter)
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package.__name__).rglob("*.py"))]
NO_VERSION = "needs a published version: tests/exporter and tests/client read real ones"
EXPORT = "takes an export: tests/exporter makes many"
NOT_RUN = {
    "signatures.contract.record.ExportRecord.read": NO_VERSION,
    "client.promotion.verify.verify": NO_VERSION,
    "client.samples.read.read_samples": "needs a server: tests/client/test_sample_files.py reads such files",
    "client.samples.stacking.inputs_of": "needs a served model: tests/client/test_sample_records.py has some",
    "client.samples.made_up.random_samples": "needs a model of tokens: tests/client/test_made_up.py has one",
    "client.recording.logs.recorded_requests": "needs recorded traffic: tests/test_recorded_traffic.py has some",
    "exporter": EXPORT,
    "exporter.memory.estimate_memory": NO_VERSION,
    "exporter.pipeline.PublishedVersion": EXPORT,
    "exporter.pipeline.export": EXPORT,
    "exporter.presets.mobilenetv2.build_mobilenetv2": "builds a large model: tests/exporter/test_backbones.py does",
    "exporter.presets.resnet18.build_resnet18": "builds a large model: tests/exporter/test_backbones.py does",
    "exporter.sources.saved_models.load_saved_model": "needs a SavedModel: tests/exporter/test_saved_models.py has",
    "exporter.validation.gpu_kernels.gpu_readiness": NO_VERSION,
    "exporter.validation.loaded.LoadedVersion": NO_VERSION,
    "server": "needs a version to serve: tests/server starts many servers",
    "server.model_server.ModelServer": "needs a version to serve: tests/server starts many servers",
}


def examples():
    """Yield the qualified name, the module and the text of each docstring that has an example."""
    for file in SOURCES:
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found = [(module, ast.parse(file.read_text("utf-8")))]
        while found:
            name, node = found.pop()
            text = ast.get_docstring(node)
            if text and ">>>" in text:
                yield name, (module, text)
            found += [(f"{name}.{child.name}", child) for child in node.body if hasattr(child, "name")]


EXAMPLES = dict(examples())


def answers(request):
    """Answer with one sparse row, or with an identity."""
    if request.signature != "export_info":
        return {"probabilities": [[0.0, 0.75]]}
    texts = {
        "export_id": "0" * 32,
        "model": "digits",
        "labels": json.dumps(["cat", "dog"]),
        "preprocessing": json.dumps("unit"),
        "golden_digest": "0" * 64,
    }
    return {"k": np.array([1], np.int32)} | {name: np.array([text.encode()], object) for name, text in texts.items()}


def image_file(kind):
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, kind)
    return file.getvalue()


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "sigmoid")])


@pytest.fixture
def namespace(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    transport = MockTransport(answers, inputs={"images": "float32"})
    return {
        **{name: getattr(package, name) for package in (signatures, client, exporter) for name in package.__all__},
        "CPU": CPU,
        "MockTransport": MockTransport,
        "Path": Path,
        "Sample": Sample,
        "asyncio": asyncio,
        "backbone": signatures.Backbone(model, {"images": tf.TensorSpec([None, 4, 4, 1])}),
        "client": client.ServingClient("localhost:8500", "digits", transport=transport),
        "grpc": grpc,
        "identity": signatures.Identity(
            lambda: tf.constant("0" * 32), "pets", 1, ["cat", "dog", "owl"], None, "0" * 64
        ),
        "images": np.zeros((1, 4, 4, 1), np.float32),
        "jpeg": image_file("JPEG"),
        "keras": keras,
        "model": model,
        "np": np,
        "png": image_file("PNG"),
        "random_samples": random_samples,
        "tf": tf,
        "transport": transport,
    }


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in NOT_RUN])
def test_the_example_runs(name, namespace):
    module, text = EXAMPLES[name]
    own = vars(importlib.import_module(module))
    test = doctest.DocTestParser().get_doctest(text, {**own, **namespace}, name, None, None)
    told = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test, out=told.append)
    assert not told, "".join(told)


def test_each_public_name_has_an_example():
    # The alias of a type has no docstring.
    public = {
        f"{package.__name__}.{name}"
        for package in PACKAGES
        for name in package.__all__
        if get_origin(getattr(package, name)) is None
    }
    shown = {f"{name.partition('.')[0]}.{name.rpartition('.')[2]}" for name in EXAMPLES}
    assert public <= shown


def test_what_is_not_run_is_an_example():
    assert NOT_RUN.keys() <= EXAMPLES.keys()
