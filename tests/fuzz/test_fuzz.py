"""Random architectures: each is exported and answers as `model.predict` does, or is refused in one sentence."""

import contextlib
import gc
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from architectures import architecture
from oracle import wrong_classes, wrong_listed, wrong_sparse

from client import ServingClient
from exporter import ExportError, export
from server import ModelServer, Settings
from signatures import names


def short_form():
    return range(12)


def hold(architecture, classifier, version, output, rng):
    settings = {}
    if architecture.options.server_batching:
        settings = {"enable_batching": True, "batching_parameters_file": output / "deploy" / "batching.config"}
    server = ModelServer(
        Settings(
            model_name=classifier.name,
            model_base_path=output / classifier.name,
            file_system_poll_wait_seconds=0,
            max_num_load_retries=0,
            grpc_max_threads=32,
            xla_cpu_compilation_enabled=architecture.options.jit_compile,
            **settings,
        )
    )
    with server, ServingClient(f"localhost:{server.port}", classifier.name) as client:
        result = client.check(version.path)
        faults = [question.first_fault for question in (result.identity, result.backbone, result.head)]
        assert result.passed, f"the check fails: {faults}"
        metadata = client.metadata()
        served = set(metadata.signatures["serving_default"].inputs) - {"k"}
        assert served == set(architecture.served)
        questions = [question(architecture, metadata, rng) for _ in range(12)]
        dense = [architecture.scores(inputs) for inputs, _, _ in questions]
        with ThreadPoolExecutor(12) as pool:
            answers = pool.map(lambda one: ask(client, *one), questions)
            for asked, scores, answer in zip(questions, dense, answers, strict=True):
                judge(architecture, classifier, asked, scores, answer)
    return result


def question(architecture, metadata, rng):
    """Draw inputs, a k and a signature."""
    keys = [key for key in metadata.signatures if key not in (names.EXPORT_INFO, "encoded_images", "encoded_images_top_k")]
    if metadata.signatures.get("encoded_images"):
        keys = [key for key in keys if key != names.CLASSIFY]
    key = str(rng.choice(keys))
    examples = int(rng.choice([1, 2, 3, 7, 20]))
    n = architecture.n
    k = [None, 0, 1, n, n + 3, -2, rng.integers(-1, n + 2, examples).astype(np.int32)][rng.integers(7)]
    return architecture.request(rng, examples), None if key == names.FIXED_K else k, key


def ask(client, inputs, k, key):
    if key != names.CLASSIFY:
        return client.predict(inputs, k=k, signature=key)
    examples = len(next(iter(inputs.values())))
    each = [{name: array[row].ravel().tolist() if array.ndim > 1 else array[row : row + 1].tolist() for name, array in inputs.items()} for row in range(examples)]
    if k is not None:
        for row, example in enumerate(each):
            example["k"] = int(np.broadcast_to(k, examples)[row])
    return client.classify(each)


def judge(architecture, classifier, asked, dense, answer):
    inputs, k, key = asked
    examples, n = len(dense), architecture.n
    meant = np.clip(np.broadcast_to(architecture.k if k is None else k, examples), 0, n)
    labels = classifier.labels
    for row in range(examples):
        if key == names.CLASSIFY:
            wrong = wrong_classes(dense[row], answer[row], labels, meant[row], architecture.tolerance)
        elif key == names.TOP_K:
            wrong = wrong_listed(
                dense[row], answer["indices"][row], answer["scores"][row], answer["labels"][row],
                [label.encode() for label in labels], meant[row], architecture.tolerance,
            )
        else:
            wrong = wrong_sparse(dense[row], answer["probabilities"][row], meant[row], architecture.tolerance)
        assert not wrong, f"{key} of {examples} examples with k = {k} is wrong in row {row}: {wrong}"


def one_sentence(error):
    message = str(error)
    assert 20 < len(message) < 400, f"{len(message)} characters: {message}"
    assert "\n" not in message
    assert message.endswith("."), message
    assert "Traceback" not in message
    assert not re.search(r"\{\{|node_|\[Op:|StatefulPartitioned", message), message


def attempt(seed, output):
    arch = architecture(seed)
    try:
        try:
            (output / "source").mkdir(exist_ok=True)
            classifier = arch.classifier(output / "source")
            version = export(classifier, output / "models", k=arch.k, options=arch.options)
        except ExportError as error:
            one_sentence(error)
            assert not list((output / "models").glob("*/*")), "something was left behind"
            return f"{type(error).__name__}: {error}"
        assert not arch.hopeless, "exported, though nothing but a refusal would be right"
        hold(arch, classifier, version, output / "models", np.random.default_rng(seed))
        return None
    except BaseException as error:
        error.add_note(f"seed {seed}: {arch.words}")
        raise


@pytest.mark.parametrize("seed", short_form())
def test_it(seed, tmp_path):
    attempt(seed, tmp_path)
