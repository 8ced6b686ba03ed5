"""A published version, served and asked by several clients at once, held against `model.predict`."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from client import ServerError, ServingClient
from server import ModelServer, Settings
from signatures.contract import names

from .architectures import Architecture
from .oracle import wrong_classes, wrong_listed, wrong_sparse

_REQUESTS, _BAD = 12, 3
_FILES = (names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K)


@dataclass(frozen=True)
class Question:
    """One request: inputs by name, k as it is sent, the signature; whether it must be refused."""

    inputs: dict[str, Any]
    k: Any
    key: str
    bad: bool = False

    @property
    def examples(self) -> int:
        return len(next(iter(self.inputs.values())))


def hold(drawn: Architecture, classifier: Any, version: Any, output: Path) -> None:
    """Serve a version; the client's check must pass, and every answer be the top k of what Keras predicts."""
    rng = np.random.default_rng(drawn.seed)
    with (
        _server(drawn, classifier.name, output) as server,
        ServingClient(f"localhost:{server.port}", classifier.name, timeout=60) as client,
    ):
        result = client.check(version.path)
        questions = (result.identity, result.backbone, result.head)
        assert result.passed, f"The check fails: {[question.first_fault for question in questions]}"
        metadata = client.metadata()
        _assert_declared(drawn, metadata)
        good = [_question(drawn, metadata, rng) for _ in range(_REQUESTS)]
        # The server's own batching lets a bad request fail others, as every such export says.
        bad = [] if drawn.options.server_batching else [_spoilt(drawn, question, rng) for question in good[:_BAD]]
        asked = [*bad, *good]
        dense = [None if question.bad else drawn.scores(question.inputs) for question in asked]
        with ThreadPoolExecutor(len(asked)) as pool:
            answers = list(pool.map(partial(_ask, client), asked))
    for question, scores, answer in zip(asked, dense, answers, strict=True):
        if question.bad:
            assert answer is grpc.StatusCode.INVALID_ARGUMENT, f"A bad request gets {answer}: {question}"
        else:
            _judge(drawn, classifier.labels, question, scores, answer)


def _server(drawn: Architecture, name: str, output: Path) -> ModelServer:
    batching = {}
    if drawn.options.server_batching:
        batching = {"enable_batching": True, "batching_parameters_file": output / "deploy" / "batching.config"}
    settings = Settings(
        model_name=name,
        model_base_path=output / name,
        file_system_poll_wait_seconds=0,
        max_num_load_retries=0,
        grpc_max_threads=32,
        xla_cpu_compilation_enabled=drawn.options.jit_compile,
        **batching,
    )
    return ModelServer(settings)


def _assert_declared(drawn: Architecture, metadata: Any) -> None:
    """The inputs are called and typed as the model's own; a subclassed model does not say what types it takes."""
    declared = {
        name: info
        for name, info in metadata.signatures[names.SERVING_DEFAULT].inputs.items()
        if name not in names.LIMITS
    }
    assert set(declared) == set(drawn.served)
    for name, field in zip(drawn.served, drawn.fields, strict=True):
        assert declared[name].dtype == field.dtype or not drawn.typed
    if wanted := drawn.options.signatures:
        assert set(metadata.signatures) == {*wanted, names.SERVING_DEFAULT, names.EXPORT_INFO}


def _question(drawn: Architecture, metadata: Any, rng: np.random.Generator) -> Question:
    keys = sorted(set(metadata.signatures) - {names.EXPORT_INFO, *_FILES})
    if drawn.preprocessing and names.CLASSIFY in keys:
        # It takes files, and the check has asked with those.
        keys.remove(names.CLASSIFY)
    key, n = str(rng.choice(keys)), drawn.n
    examples = min(_most(drawn), int(rng.choice([1, 2, 3, 7, 20])))
    each = rng.integers(-1, n + 2, examples).astype(np.int32)
    k = None if key == names.FIXED_K else [None, 0, 1, n, n + 3, -2, each][rng.integers(7)]
    inputs = drawn.request(rng, examples)
    if not drawn.typed:
        declared = metadata.signatures[names.SERVING_DEFAULT].inputs
        inputs = {name: array.astype(declared[name].dtype) for name, array in inputs.items()}
    return Question(inputs, k, key)


def _most(drawn: Architecture) -> int:
    """Return how many examples a request may hold."""
    if drawn.options.server_batching:
        return drawn.options.server_batching.max_batch_size
    return drawn.options.batching.max_request_size if drawn.options.batching else 64


def _spoilt(drawn: Architecture, question: Question, rng: np.random.Generator) -> Question:
    """Make of a good request one of a wrong shape, or with an id that an embedding does not have."""
    fields = dict(zip(drawn.served, drawn.fields, strict=True))
    name = str(rng.choice(drawn.served))
    array = question.inputs[name].copy()
    if drawn.guarded and fields[name].bound and rng.random() < 0.7:
        array.reshape(-1)[-1] = fields[name].bound
    else:
        array = np.stack([array, array], axis=-1)
    # The Classify API takes no shapes.
    key = names.SERVING_DEFAULT if question.key == names.CLASSIFY else question.key
    return Question({**question.inputs, name: array}, question.k, key, bad=True)


def _ask(client: ServingClient, question: Question) -> Any:
    if question.bad:
        try:
            return client.predict(question.inputs, k=question.k, signature=question.key, validate=False)
        except ServerError as error:
            return error.code
    if question.key != names.CLASSIFY:
        return client.predict(question.inputs, k=question.k, signature=question.key)
    examples = [
        {name: np.reshape(array[row : row + 1], -1).tolist() for name, array in question.inputs.items()}
        for row in range(question.examples)
    ]
    if question.k is not None:
        for example, k in zip(examples, np.broadcast_to(question.k, len(examples)), strict=True):
            example[names.K] = int(k)
    return client.classify(examples)


def _judge(drawn: Architecture, labels: Sequence[str], question: Question, dense: Any, answer: Any) -> None:
    asked = drawn.k if question.k is None else question.k
    for row, k in enumerate(np.clip(np.broadcast_to(asked, len(dense)), 0, drawn.n)):
        if question.key == names.CLASSIFY:
            wrong = wrong_classes(dense[row], answer[row], labels, k, drawn.tolerance)
        elif question.key == names.TOP_K:
            places = [answer[name][row] for name in (names.INDICES, names.SCORES, names.LABELS)]
            every_label = [label.encode() for label in labels]
            wrong = wrong_listed(dense[row], *places, every_label, k, drawn.tolerance)
        else:
            wrong = wrong_sparse(dense[row], answer[names.PROBABILITIES][row], k, drawn.tolerance)
        assert not wrong, f"{question.key} of {len(dense)} with k = {question.k} is wrong in row {row}: {wrong}"
