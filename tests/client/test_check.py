"""The check against a server that serves something wrong, in many ways, and against one that is right but noisy."""

import json
import threading
import time

import numpy as np
import pytest

from client import InputError, ServingClient, UnreachableError
from client.check.three_questions import check
from client.rpc.metadata import Target
from client.samples.golden import Expectation, read_golden
from signatures.contract import names
from signatures.contract.tolerances import CPU, GPU, with_backbone

IDENTITY, BACKBONE, HEAD = "identity", "backbone", "head"
FAULTS = {}


def fault(*questions):
    """Register a way of serving something wrong, a function of model and server, and the questions that it fails."""

    def register(function):
        FAULTS[function.__name__.replace("_", " ")] = (function, set(questions))
        return function

    return register


def dense_as(change):
    """Serve dense scores that `change` makes of the right ones and of the images."""

    def apply(model, server):
        right = model.dense
        model.dense = lambda images: np.asarray(change(right(images), images), np.float32)

    return apply


def head_as(change):
    """Serve from serving_default and fixed_k what `change` makes of the right head, the dense scores and k."""

    def apply(model, server):
        right = model.head
        model.head = lambda dense, k: change(right, dense, k)

    return apply


def listed_as(change):
    """Serve from top_k what `change` makes of the right outputs."""

    def apply(model, server):
        right = model.listed
        model.listed = lambda dense, k: change(right, dense, k)

    return apply


def declared_as(change):
    def apply(model, server):
        signatures = model.declared()
        change(signatures)
        model.declared = lambda: signatures

    return apply


def info_as(**values):
    def apply(model, server):
        right = model.info
        model.info = lambda probe: (
            right(probe)
            | {
                name: np.full(len(probe), value, object if isinstance(value, bytes) else None)
                for name, value in values.items()
            }
        )

    return apply


def add(name, questions, apply):
    FAULTS[name] = (apply, set(questions))


def attributes(**values):
    def apply(model, server):
        for name, value in values.items():
            setattr(model, name, value)

    return apply


# Who are you?
add("another export id", [IDENTITY], info_as(export_id=b"f" * 32))
add("another model", [IDENTITY], info_as(model=b"digits"))
add("no preprocessing named", [IDENTITY], attributes(preprocessing=None))
add("another preprocessing", [IDENTITY], attributes(preprocessing="tf"))
add("another golden digest", [IDENTITY], info_as(golden_digest=b"0" * 64))
add("labels permuted", [IDENTITY, HEAD], attributes(labels=tuple("bacdefgh")))
add("labels permuted in the identity alone", [IDENTITY], info_as(labels=json.dumps(list("hgfedcba")).encode()))
add("a label renamed", [IDENTITY, HEAD], attributes(labels=("A", *"bcdefgh")))
add("a label missing", [IDENTITY], info_as(labels=json.dumps(list("abcdefg")).encode()))
add("a label with a space", [IDENTITY, HEAD], attributes(labels=("a ", *"bcdefgh")))
add("the identity says k + 1", [IDENTITY], info_as(k=3))
add("the identity is not JSON", [IDENTITY], info_as(labels=b"a, b, c"))
add("the identity is a number", [IDENTITY], info_as(labels=b"8"))
add("default k + 1", [IDENTITY, HEAD], attributes(default_k=3))
add("default k - 1", [IDENTITY, HEAD], attributes(default_k=1))
add("no identity served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.EXPORT_INFO)))
add("no top_k served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.TOP_K)))
add("no fixed_k served", [IDENTITY], declared_as(lambda signatures: signatures.pop(names.FIXED_K)))


@fault(IDENTITY)
def one_identity_for_many_probes(model, server):
    right = model.info
    model.info = lambda probe: right(probe[:1])


@fault(IDENTITY)
def two_identities_at_once(model, server):
    right = model.info

    def info(probe):
        outputs = right(probe)
        outputs[names.EXPORT_ID][-1] = b"other"
        return outputs

    model.info = info


@fault(IDENTITY)
def another_shape_declared(model, server):
    declared_as(lambda s: s[names.TOP_K]["inputs"][names.IMAGES].update(shape=[-1, 4, 4, 3]))(model, server)


@fault(IDENTITY)
def another_dtype_declared(model, server):
    declared_as(lambda s: s[names.FIXED_K]["outputs"][names.PROBABILITIES].update(dtype="float64"))(model, server)


@fault(IDENTITY)
def another_method_declared(model, server):
    declared_as(lambda s: s[names.FIXED_K].update(method="tensorflow/serving/classify"))(model, server)


@fault(IDENTITY)
def another_export_comes_while_the_check_runs(model, server):
    right, calls = model.info, []

    def info(probe):
        calls.append(1)
        return right(probe) | ({} if len(calls) == 1 else {names.EXPORT_ID: np.full(len(probe), b"x", object)})

    model.info = info


# Is the backbone right?
random = np.random.default_rng(0)
NOISE = 1 + 0.01 * random.choice([-1, 1], (16, 8)).astype(np.float32)


def logits(scores):
    return np.log(scores / (1 - scores))


def sigmoid(values):
    return 1 / (1 + np.exp(-values))


def bfloat16(array):
    return (np.asarray(array, np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


@fault(BACKBONE)
def a_bias_is_a_tenth_higher(model, server):
    model.bias = model.bias + np.float32(0.1) * (np.arange(8) == 7)


@fault(BACKBONE)
def weights_differ_by_a_hundredth(model, server):
    model.weights = model.weights * NOISE


@fault(BACKBONE)
def one_weight_differs_by_a_hundredth(model, server):
    model.weights = model.weights.copy()
    model.weights[5, 3] *= 1.01


@fault(BACKBONE)
def weights_in_float16(model, server):
    model.weights = model.weights.astype(np.float16).astype(np.float32)


@fault(BACKBONE)
def weights_in_bfloat16(model, server):
    model.weights = bfloat16(model.weights)


def rounded(array, bits):
    """The nearest float32 values with so many bits of mantissa, ties to even."""
    drop = 23 - bits
    integers = np.ascontiguousarray(array, np.float32).view(np.uint32)
    odd = (integers >> drop) & 1
    return ((integers + (1 << (drop - 1)) - 1 + odd) >> drop << drop).astype(np.uint32).view(np.float32)


def computed_in(bits, rounds_results):
    """Serve a backbone whose products take numbers of so many bits of mantissa; perhaps all that it computes is so."""

    def apply(model, server):
        weights, bias = rounded(model.weights, bits), model.bias

        def dense(images):
            products = rounded(images.reshape(len(images), -1) - 0.5, bits) @ weights
            if not rounds_results:
                return sigmoid(products + bias).astype(np.float32)
            return rounded(sigmoid(rounded(rounded(products, bits) + rounded(bias, bits), bits)), bits)

        model.dense = dense

    return apply


# What a server with --mixed_precision=bfloat16 makes of a float32 model, and what GPUs do unless they are told not to.
LESS_PRECISE = {
    "a backbone computed in bfloat16": computed_in(7, rounds_results=True),
    "a backbone computed in TF32": computed_in(10, rounds_results=False),
}
for name, apply in LESS_PRECISE.items():
    add(name, [BACKBONE], apply)


@fault(BACKBONE)
def classes_of_the_weights_permuted(model, server):
    model.weights, model.bias = model.weights[:, ::-1], model.bias[::-1]


for name, change in {
    "scores in float16": lambda scores, images: scores.astype(np.float16),
    "scores in bfloat16": lambda scores, images: bfloat16(scores),
    "scores rounded to three places": lambda scores, images: np.round(scores, 3),
    "scores in eight bits": lambda scores, images: np.round(scores * 255) / 255,
    "a temperature of 1.01": lambda scores, images: sigmoid(logits(scores.astype(np.float64)) / 1.01),
    "softmax instead of sigmoid": lambda scores, images: (
        np.exp(logits(scores)) / np.exp(logits(scores)).sum(1, keepdims=True)
    ),
    "logits instead of scores": lambda scores, images: logits(scores.astype(np.float64)),
    "the complement": lambda scores, images: 1 - scores,
    "scores clipped to 0.01 and 0.99": lambda scores, images: np.clip(scores, 0.01, 0.99),
    "rows reversed": lambda scores, images: scores[::-1],
    "rows moved on by one": lambda scores, images: np.roll(scores, 1, 0),
    "the first row for all": lambda scores, images: np.repeat(scores[:1], len(scores), 0),
    "the last of eight rows wrong": lambda scores, images: np.where(np.arange(len(scores))[:, None] == 7, 0.5, scores),
    "a lone row wrong": lambda scores, images: scores if len(scores) > 1 else scores * 0.99,
    "one image wrong": lambda scores, images: np.where(images.mean((1, 2, 3))[:, None] > 0.578, scores * 0.99, scores),
    "a class that is never seen": lambda scores, images: scores * (np.arange(8) != 4),
    "one entry a thousandth higher": lambda scores, images: scores * (1 + 0.001 * (np.arange(8) == 2)),
}.items():
    add(name, [BACKBONE], dense_as(change))


@fault(BACKBONE, HEAD)
def not_a_number(model, server):
    dense_as(lambda scores, images: np.where(np.arange(8) == 3, np.nan, scores))(model, server)


@fault(BACKBONE, HEAD)
def infinity(model, server):
    dense_as(lambda scores, images: np.where(np.arange(8) == 3, np.inf, scores))(model, server)


@fault(BACKBONE)
def pixels_scaled_twice(model, server):
    right = model.dense
    model.dense = lambda images: right(images / 255)


@fault(BACKBONE)
def images_mirrored(model, server):
    right = model.dense
    model.dense = lambda images: right(images[:, :, ::-1])


@fault(BACKBONE)
def images_transposed(model, server):
    right = model.dense
    model.dense = lambda images: right(images.swapaxes(1, 2))


@fault(BACKBONE, HEAD)
def two_replicas_with_different_weights(model, server):
    right, calls = model.dense, []

    def dense(images):
        calls.append(1)
        return right(images) * np.float32(1 if len(calls) % 3 else 0.99)

    model.dense = dense


# What is wrong with the answer as a whole.
def outputs_as(change, signatures=(names.SERVING_DEFAULT,)):
    def apply(model, server):
        right = model.predict

        def predict(signature, inputs):
            outputs = right(signature, inputs)
            return change(outputs) if signature in signatures else outputs

        model.predict = predict

    return apply


for name, change in {
    "a class dropped": lambda outputs: {key: array[:, :-1] for key, array in outputs.items()},
    "a class too many": lambda outputs: {key: np.pad(array, ((0, 0), (0, 1))) for key, array in outputs.items()},
    "float64": lambda outputs: {key: array.astype(np.float64) for key, array in outputs.items()},
    "a row missing": lambda outputs: {key: array[:-1] for key, array in outputs.items()},
    "a row too many": lambda outputs: {key: np.concatenate([array, array[:1]]) for key, array in outputs.items()},
    "no rows": lambda outputs: {key: array[:0] for key, array in outputs.items()},
    "no batch dimension": lambda outputs: {key: array[0] for key, array in outputs.items()},
    "a dimension too many": lambda outputs: {key: array[:, None] for key, array in outputs.items()},
    "an output renamed": lambda outputs: {"scores": outputs[names.PROBABILITIES]},
    "no outputs": lambda outputs: {},
}.items():
    add(name, [BACKBONE, HEAD], outputs_as(change))


# Is the head right?
def reordered(order):
    """A head that ranks otherwise."""

    def apply(model, server):
        model.order = order

    return apply


for name, change in {
    "keeps k + 1": lambda right, dense, k: right(dense, np.minimum(k + 1, 8)),
    "keeps k + 1 of some": lambda right, dense, k: right(dense, k + (dense[:, 0] > 0.5)),
    "k of zero keeps one": lambda right, dense, k: right(dense, np.maximum(k, 1)),
    "k of N - 1 keeps all": lambda right, dense, k: right(dense, np.where(k == 7, 8, k)),
    "k ignored": lambda right, dense, k: right(dense, np.where(k == 8, 8, 2)),
    "the first k for all": lambda right, dense, k: right(dense, np.full(len(k), k[0])),
    "k in reverse": lambda right, dense, k: right(dense, k[::-1]),
    "a negative k keeps all": lambda right, dense, k: right(dense, np.where(k < 0, 8, k)),
    "a large k keeps none": lambda right, dense, k: right(dense, np.where(k > 8, 0, k)),
    "kept scores in float16": lambda right, dense, k: np.where(
        (k < 8)[:, None], right(dense, k).astype(np.float16), right(dense, k)
    ).astype(np.float32),
    "kept scores made to sum to one": lambda right, dense, k: (
        np.where((k < 8)[:, None], right(dense, k) / np.maximum(right(dense, k).sum(1, keepdims=True), 1e-9), dense)
    ).astype(np.float32),
    "kept scores made one": lambda right, dense, k: np.where((k < 8)[:, None], right(dense, k) > 0, dense).astype(
        np.float32
    ),
    "the rest not quite zero": lambda right, dense, k: np.maximum(right(dense, k), np.float32(1e-7)),
    "sparsified rows reversed": lambda right, dense, k: np.where((k < 8).all(), right(dense, k)[::-1], right(dense, k)),
    "a lone row left dense": lambda right, dense, k: dense if len(dense) == 1 else right(dense, k),
    "the kept entries one place on": lambda right, dense, k: np.where(
        (k < 8)[:, None], np.roll(right(dense, k), 1, 1), dense
    ),
    "the lowest kept": lambda right, dense, k: np.where(
        (k < 8)[:, None], np.where(right(-dense, k) != 0, dense, 0), dense
    ).astype(np.float32),
    "kept scores a ten-thousandth off": lambda right, dense, k: np.where(
        (k < 8)[:, None], right(dense, k) * np.float32(1.0001), dense
    ),
}.items():
    add(name, [HEAD], head_as(change))

add("keeps k - 1", [BACKBONE, HEAD], head_as(lambda right, dense, k: right(dense, k - 1)))
add("fixed_k keeps 3", [IDENTITY, HEAD], attributes(k=3))


def changed(**changes):
    """Change some of top_k's outputs, given as functions of the right array."""
    return listed_as(
        lambda right, dense, k: {
            key: changes[key](array) if key in changes else array for key, array in right(dense, k).items()
        }
    )


def swapped_places(array):
    return array[:, ::-1] if array.shape[1] == 2 else array


for name, apply in {
    "top_k worst first": listed_as(
        lambda right, dense, k: {
            key: np.stack(
                [np.r_[row[:count][::-1], row[count:]] for row, count in zip(array, np.clip(k, 0, 8), strict=True)]
            )
            for key, array in right(dense, k).items()
        }
    ),
    "two places swapped": changed(indices=swapped_places, scores=swapped_places, labels=swapped_places),
    "indices from one": changed(indices=lambda array: array + (array >= 0)),
    "indices of another row": changed(indices=lambda array: array[::-1]),
    "scores of another row": changed(scores=lambda array: array[::-1]),
    "labels of another row": changed(labels=lambda array: array[::-1]),
    "labels left empty": changed(labels=lambda array: np.full(array.shape, b"", object)),
    "labels that are no text": changed(labels=lambda array: np.full(array.shape, b"\xff\xfe", object)),
    "int64 indices": changed(indices=lambda array: array.astype(np.int64)),
    "float16 scores in top_k": changed(scores=lambda array: array.astype(np.float16).astype(np.float32)),
    "scores in top_k a ten-thousandth off": changed(scores=lambda array: array * np.float32(1.0001)),
    "padding with index 0": changed(indices=lambda array: np.maximum(array, 0)),
    "padding with a score": changed(scores=lambda array: np.where(array == 0, np.float32(1e-9), array)),
    "padding with a label": changed(labels=lambda array: np.where(array == b"", b"a", array)),
    "padding that is no number": changed(scores=lambda array: np.where(array == 0, np.float32(np.nan), array)),
    "one index twice": changed(indices=lambda array: np.where(array >= 0, array[:, :1], array)),
    "an index past the end": changed(indices=lambda array: np.where(array == 7, 8, array)),
    "top_k always as wide as N": listed_as(
        lambda right, dense, k: {
            key: np.stack([np.r_[row, filler[row.size :]] for row in array])
            for (key, array), filler in zip(
                right(dense, k).items(),
                (np.full(8, -1, np.int32), np.zeros(8, np.float32), np.full(8, b"", object)),
                strict=True,
            )
        }
    ),
    "top_k one column short": listed_as(
        lambda right, dense, k: {key: array[:, :-1] for key, array in right(dense, k).items()}
    ),
    "top_k keeps k + 1": listed_as(lambda right, dense, k: right(dense, k + 1)),
    "top_k keeps k - 1": listed_as(lambda right, dense, k: right(dense, k - 1)),
    "top_k without scores": listed_as(
        lambda right, dense, k: {key: array for key, array in right(dense, k).items() if key != names.SCORES}
    ),
    "top_k of a stale model": listed_as(lambda right, dense, k: right(np.roll(dense, 1, 1), k)),
}.items():
    add(name, [HEAD], apply)


@fault(HEAD)
def two_replicas_with_different_heads(model, server):
    right, calls = model.head, []

    def head(dense, k):
        calls.append(1)
        return right(dense, k if len(calls) % 2 else np.minimum(k + 1, 8))

    model.head = head


@fault(HEAD)
def left_out_k_means_all(model, server):
    right = model.predict

    def predict(signature, inputs):
        every = {names.K: np.array(8)} if signature == names.SERVING_DEFAULT and names.K not in inputs else {}
        return right(signature, inputs | every)

    model.predict = predict


@fault(HEAD)
def a_scalar_k_is_refused(model, server):
    right = model.predict

    def predict(signature, inputs):
        if names.K in inputs and not inputs[names.K].ndim:
            raise ValueError("k must be a vector")
        return right(signature, inputs)

    model.predict = predict


@fault(HEAD)
def an_error_in_the_middle(model, server):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 20:
            raise ValueError("out of memory")
        return right(signature, inputs)

    model.predict = predict


@fault(HEAD)
def encoded_top_k_keeps_another(model, server):
    model.takes_files = True
    right = model.predict

    def predict(signature, inputs):
        more = {names.K: inputs[names.K] + 1} if signature == names.ENCODED_IMAGES_TOP_K and names.K in inputs else {}
        return right(signature, inputs | more)

    model.predict = predict


@fault(BACKBONE)
def files_decoded_a_little_differently(model, server):
    right = model.decode
    model.decode = lambda files: right(files) + np.float32(1 / 255)


@fault(HEAD)
def classes_of_another_order(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:, ::-1] for array in right(examples)]


@fault(HEAD)
def a_class_that_is_none_of_the_labels(model, server):
    right = model.classify

    def classify(examples):
        labels, scores = right(examples)
        return np.where(labels == b"a", b"A", labels), scores

    model.classify = classify


@fault(HEAD)
def classes_left_out(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:, :1] for array in right(examples)]


@fault(HEAD)
def an_example_not_classified(model, server):
    right = model.classify
    model.classify = lambda examples: [array[:-1] for array in right(examples)]


@pytest.fixture
def checked(server, version):
    def run(golden=version, timeout=30):
        with ServingClient(server.address, "letters", timeout=timeout) as client:
            return client.check(golden)

    return run


def failed(result):
    return {name for name in (IDENTITY, BACKBONE, HEAD) if getattr(result, name).passed is False}


def test_what_is_right_passes(checked):
    result = checked()
    assert result.passed
    assert failed(result) == set()
    assert (result.backbone.records, result.head.records) == (9, 9)
    assert result.not_asked == ()


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_fails_the_question_it_belongs_to(name, model, server, checked):
    apply, questions = FAULTS[name]
    apply(model, server)
    result = checked()
    assert not result.passed
    assert failed(result) == questions
    for question in questions:
        first = getattr(result, question).first_fault
        assert first.question == question
        assert first.message


def test_a_fault_names_signature_k_record_entry_and_numbers(model, server, checked):
    head_as(lambda right, dense, k: np.where((k == 2)[:, None], right(dense, k) * np.float32(0.5), right(dense, k)))(
        model, server
    )
    found = checked().head.first_fault
    assert (found.signature, found.k, found.record) == (names.FIXED_K, "left out", 0)
    assert found.entry is not None
    assert "dense" in str(found)
    assert str(found).startswith("signature fixed_k, k left out, record 0, entry ")


def test_a_server_that_batches_is_checked_with_one_k_per_example(model, checked):
    model.batching = True
    result = checked()
    assert result.passed
    assert result.batching
    model.head = lambda dense, k, right=model.head: right(dense, np.minimum(k + 1, 8))
    assert failed(checked()) == {HEAD}


def test_a_version_of_half_precision_is_allowed_its_noise_and_no_more_than_a_user_says(model, server, version):
    dense_as(lambda scores, images: scores.astype(np.float16))(model, server)
    file = version / "assets.extra" / "export.json"
    stated = json.loads(file.read_text())
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version)) == {BACKBONE}
        file.write_text(json.dumps({**stated, "precision": "mixed_float16"}))
        result = client.check(version)
        strict = client.check(version, tolerances=with_backbone(CPU, 1e-5, 1e-5))
    assert result.passed
    assert "mixed_float16" in result.tolerances.blind_to[-1]
    assert failed(strict) == {BACKBONE}


@pytest.mark.parametrize("most", [1, 3])
def test_a_server_that_takes_few_examples_at_once_is_asked_for_as_few(model, checked, most):
    model.batching, model.most = True, most
    result = checked()
    assert result.passed
    assert result.head.answers > result.head.records
    model.head = lambda dense, k, right=model.head: right(dense, np.minimum(k + 1, 8))
    assert failed(checked()) == {HEAD}


@pytest.mark.parametrize("batching", [False, True])
def test_a_default_k_that_metadata_lack_is_no_fault_and_is_still_asked(model, checked, batching):
    model.tells_default_k, model.batching = False, batching
    assert checked().passed
    if not batching:
        model.default_k = 3
        assert failed(checked()) == {HEAD}


def test_a_batching_server_may_pad_top_k_to_a_wider_request(model, server, checked):
    model.batching = True
    FAULTS["top_k always as wide as N"][0](model, server)
    assert checked().passed
    changed(indices=lambda array: np.maximum(array, 0))(model, server)
    assert failed(checked()) == {HEAD}


def test_equal_scores_must_keep_the_lower_index(model, fake, tmp_path):
    model.weights[:], model.bias[:] = 0, 0
    version = fake.publish(model, tmp_path / "tied")
    server = fake.Server(model)
    try:
        with ServingClient(server.address, "letters") as client:
            assert client.check(version).passed
            model.order = lambda row: np.lexsort((-np.arange(len(row)), -row))
            assert failed(client.check(version)) == {HEAD}
            model.order = lambda row: np.lexsort((np.arange(len(row)), -row))
            threshold = lambda dense, k: np.where(dense >= np.sort(dense, 1)[:, -2:-1], dense, 0)  # noqa: E731
            model.head = threshold
            assert failed(client.check(version)) == {HEAD}
    finally:
        server.stop()


def test_a_changed_golden_file_is_named(version, checked):
    file = version / names.ASSETS_EXTRA / names.GOLDEN_FILE
    content = bytearray(file.read_bytes())
    content[8] ^= 1  # one of the sums that the reader skips
    file.write_bytes(content)
    result = checked()
    assert failed(result) == {IDENTITY}
    assert "was changed" in result.identity.first_fault.message


def test_golden_records_of_another_export_fail(fake, tmp_path, checked):
    other = fake.Model(seed=1)
    assert failed(checked(fake.publish(other, tmp_path / "other"))) == {IDENTITY, BACKBONE}


def test_a_model_whose_scores_nothing_shows_is_no_pass(model, version, checked):
    """The record of an older release does not state the signatures that are missing."""
    file = version / "assets.extra" / "export.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "signatures": {}}))
    right, predict = model.declared(), model.predict
    model.declared = lambda: {
        "of_ours": right[names.SERVING_DEFAULT],
        names.EXPORT_INFO: right[names.EXPORT_INFO],
    }
    model.predict = lambda key, inputs: predict(names.SERVING_DEFAULT if key == "of_ours" else key, inputs)
    result = checked()
    assert not result.passed
    assert failed(result) == {BACKBONE}


def test_no_samples_are_no_pass(server):
    with ServingClient(server.address, "letters") as client, pytest.raises(InputError, match="no samples"):
        client.run(check(server.address, Target("letters"), Expectation("nothing", ())))


def test_noise_within_the_tolerance_raises_no_alarm(model, checked):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-3e-6, 3e-6, (len(images), 8)))).astype(np.float32)
    assert checked().passed


def test_the_gpu_tolerance_lets_tf32_pass_and_says_what_it_cannot_see(model, server, version):
    right, noise = model.dense, np.random.default_rng(5)
    model.dense = lambda images: (right(images) * (1 + noise.uniform(-5e-4, 5e-4, (len(images), 8)))).astype(np.float32)
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version, tolerances=CPU)) == {BACKBONE, HEAD}
        result = client.check(version, tolerances=GPU)
        assert result.passed
        assert result.tolerances.blind_to


@pytest.mark.parametrize("name", LESS_PRECISE)
def test_the_gpu_tolerance_lets_less_precise_servers_pass_as_the_docs_say(name, model, server, version):
    LESS_PRECISE[name](model, server)
    with ServingClient(server.address, "letters") as client:
        assert failed(client.check(version, tolerances=CPU)) == {BACKBONE}
        assert client.check(version, tolerances=GPU).passed


def test_another_version_may_not_slip_in(model, server, fake, version):
    second = fake.Model()
    second.version, second.digest = 2, model.digest
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 30:
            server.models[2] = second
        return right(signature, inputs)

    model.predict = predict
    with ServingClient(server.address, "letters") as client:
        result = client.check(version)
        assert not result.passed
        assert "version 2 answered" in result.head.first_fault.message
        assert client.check(version, version=1).passed


@pytest.mark.parametrize("seed", [0, 1])
def test_a_restart_in_the_middle_never_ends_in_a_false_pass(fake, tmp_path, seed):
    model = fake.Model()
    version = fake.publish(model, tmp_path / "letters")
    server = fake.Server(model)
    after = fake.Model()
    after.digest = model.digest
    if seed:
        after.weights = after.weights * NOISE
    servers = [server]
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 40:
            threading.Thread(target=restart).start()
            time.sleep(0.2)
        return right(signature, inputs)

    def restart():
        server.stop()
        servers.append(fake.Server(after, server.port))

    model.predict = predict
    try:
        with ServingClient(server.address, "letters") as client:
            result = client.check(version)
        assert not (seed and result.passed)
        if not result.passed and not seed:  # the restart took longer than the retries
            assert "reached" in str(result)
    finally:
        for one in servers:
            one.stop()


def test_a_server_that_goes_away_is_a_fault_and_ends_the_check_soon(server, model, version):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) == 10:
            threading.Thread(target=server.stop).start()
            time.sleep(0.2)
        return right(signature, inputs)

    model.predict = predict
    with ServingClient(server.address, "letters", timeout=2) as client:
        result = client.check(version)
        assert not result.passed
        with pytest.raises(UnreachableError):
            client.check(version)
    assert len(calls) < 20


def test_the_golden_file_may_be_named_itself(version, checked):
    assert checked(version / names.ASSETS_EXTRA / names.GOLDEN_FILE).passed


def test_golden_records_are_read_with_inputs_and_dense_scores(version, model):
    reference = read_golden(version)
    assert len(reference.samples) == 9
    sample = reference.samples[3]
    assert sample.inputs[names.IMAGES].shape == (1, 4, 4, 1)
    np.testing.assert_array_equal(sample.dense, model.dense(sample.inputs[names.IMAGES])[0])
