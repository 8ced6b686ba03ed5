"""Calls, of the blocking and of the asyncio client alike."""

import asyncio
import inspect
import pickle
import time

import grpc
import numpy as np
import pytest

from client import AsyncServingClient, DecodeError, InputError, ServerError, ServingClient, UnreachableError
from client.rpc.metadata import VersionStatus
from signatures.contract import names


class Blocking:
    """The asyncio client behind the face of the blocking one."""

    def __init__(self, *arguments, **options):
        self._runner = asyncio.Runner()

        async def make():
            return AsyncServingClient(*arguments, **options)

        self._client = self._runner.run(make())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._runner.run(self._client.close())
        self._runner.close()

    def __getattr__(self, name):
        method = getattr(self._client, name)

        async def awaited(*arguments, **options):
            return await method(*arguments, **options)

        return lambda *arguments, **options: self._runner.run(awaited(*arguments, **options))


@pytest.fixture(params=[ServingClient, Blocking], ids=["blocking", "asyncio"])
def connect(request):
    return request.param


@pytest.fixture
def client(connect, server):
    with connect(server.address, "letters", timeout=30) as client:
        yield client


def test_both_clients_have_the_same_methods_with_the_same_arguments():
    def arguments(method):
        return [(one.name, one.kind, one.default) for one in inspect.signature(method).parameters.values()]

    for name, method in inspect.getmembers(ServingClient, inspect.isfunction):
        if not name.startswith("_"):
            assert arguments(getattr(AsyncServingClient, name)) == arguments(method)


def test_predict_takes_a_bare_array_and_gives_arrays_by_name(client, model, images):
    answer = client.predict(images)
    assert set(answer) == {names.PROBABILITIES}
    np.testing.assert_array_equal(answer[names.PROBABILITIES], model.head(model.dense(images), np.full(5, 2)))


@pytest.mark.parametrize("k", [3, np.int64(3), np.array(3), [3], (3, 3, 3, 3, 3), np.full(5, 3, np.uint8)])
def test_k_is_a_number_or_one_per_example_and_is_sent_as_one_per_example(client, server, images, k):
    answer = client.predict({names.IMAGES: images}, k)
    assert (np.count_nonzero(answer[names.PROBABILITIES], axis=1) == 3).all()
    sent = server.requests[-1].inputs[names.K]
    assert sent.dtype == np.int32
    assert sent.tolist() == [3] * 5


@pytest.mark.parametrize(("k", "kept"), [(-1, 0), (0, 0), (2**40, 8), (-(2**70), 0)])
def test_k_of_any_size_is_taken(client, images, k, kept):
    assert (np.count_nonzero(client.predict(images, k)[names.PROBABILITIES], axis=1) == kept).all()


def test_only_the_outputs_asked_for_come(client, images):
    answer = client.predict(images, 2, names.TOP_K, outputs=[names.INDICES])
    assert set(answer) == {names.INDICES}


def test_merged_top_k_answers_are_trimmed_to_what_was_asked(client, model, images):
    wide = model.listed
    model.listed = lambda dense, k: wide(np.concatenate([dense, dense[:1]]), np.append(k, 7))
    right = model.predict
    model.predict = lambda signature, inputs: {key: array[:5] for key, array in right(signature, inputs).items()}
    for k, width in ((2, 2), ([0, 1, 3, 1, 0], 3), (0, 0), (None, 2)):
        answer = client.predict(images, k, names.TOP_K)
        assert {array.shape for array in answer.values()} == {(5, width)}


def test_a_batching_server_gets_the_default_k_per_example(client, model, server, images):
    model.batching = True
    for _ in range(2):
        answer = client.predict(images)
        assert (np.count_nonzero(answer[names.PROBABILITIES], axis=1) == 2).all()
        assert server.requests[-1].inputs[names.K].tolist() == [2] * 5
    assert len(server.requests) == 3


@pytest.mark.parametrize("batching", [False, True])
def test_a_default_k_that_metadata_lack_is_taken_from_the_identity(client, model, server, images, batching):
    model.tells_default_k, model.batching = False, batching
    assert client.metadata().signature(names.SERVING_DEFAULT).default_k is None
    for _ in range(2):
        answer = client.predict(images)
        assert (np.count_nonzero(answer[names.PROBABILITIES], axis=1) == 2).all()
        assert client.predict(images, signature=names.TOP_K)[names.INDICES].shape == (5, 2)
    assert (names.K in server.requests[-1].inputs) == batching
    assert sum(request.signature == names.EXPORT_INFO for request in server.requests) == 1


def test_a_signature_of_another_model_whose_k_has_no_default_needs_one(client, model, images):
    model.tells_default_k, model.keys, model.takes_min_score = False, [], False
    right = model.declared()
    del right[names.EXPORT_INFO]
    model.declared = lambda: right
    with pytest.raises(InputError, match="needs the input 'k'"):
        client.predict(images)
    assert client.predict(images, 3)


def test_plain_numbers_take_the_declared_dtype(client, images):
    expected = client.predict(images[:1])[names.PROBABILITIES]
    np.testing.assert_array_equal(client.predict(images[:1].tolist())[names.PROBABILITIES], expected)
    assert client.predict(np.zeros((1, 4, 4, 1), int).tolist())


@pytest.mark.parametrize(
    ("inputs", "k", "said"),
    [
        (np.zeros((5, 4, 4)), 2, "input images of signature serving_default is float32, not float64"),
        (np.zeros((5, 4, 4), np.float32), 2, r"has shape \[any, 4, 4, 1\], but an array of shape \[5, 4, 4\]"),
        (np.zeros((5, 2, 4, 1), np.float32), 2, r"but an array of shape \[5, 2, 4, 1\]"),
        (np.zeros((0, 4, 4, 1), np.float32), 2, "holds no examples"),
        ({"pictures": np.zeros((5, 4, 4, 1), np.float32)}, 2, "has no input 'pictures', only images, k"),
        ({}, 2, "needs the input 'images'"),
        ([b"a"], 2, "takes float32, not"),
        ([["a"], [1, 2]], 2, "holds lists of several lengths"),
        (np.zeros((5, 4, 4, 1), np.float32), [1, 2, 3], r"k has shape \[3\]"),
        (np.zeros((5, 4, 4, 1), np.float32), [[1]] * 5, r"k has shape \[5, 1\]"),
        (np.zeros((5, 4, 4, 1), np.float32), [], r"k has shape \[0\]"),
        (np.zeros((5, 4, 4, 1), np.float32), 2.5, "must be a whole number"),
        (np.zeros((5, 4, 4, 1), np.float32), "2", "must be a whole number"),
        (np.zeros((5, 4, 4, 1), np.float32), True, "must be a whole number"),
    ],
)
def test_what_does_not_fit_is_refused_before_it_is_sent(client, server, inputs, k, said):
    with pytest.raises(InputError, match=said):
        client.predict(inputs, k)
    assert server.requests == []


def test_unknown_signatures_and_outputs_are_refused_with_those_there_are(client, images):
    with pytest.raises(InputError, match=r"no signature 'nosuch', only classify, .*, top_k"):
        client.predict(images, signature="nosuch")
    with pytest.raises(InputError, match="no output 'nosuch', only probabilities"):
        client.predict(images, outputs=["nosuch"])
    with pytest.raises(InputError, match="takes no k"):
        client.predict(images, 2, names.FIXED_K)


def test_without_validation_one_call_is_made_and_inputs_go_by_name(client, server, images):
    answer = client.predict({names.IMAGES: images}, 1, validate=False)
    assert (np.count_nonzero(answer[names.PROBABILITIES], axis=1) == 1).all()
    assert len(server.metadata) == 1
    with pytest.raises(InputError, match="by name"):
        client.predict(images, validate=False)
    with pytest.raises(ServerError, match="INVALID_ARGUMENT") as failure:
        client.predict({names.IMAGES: images[:, :2]}, validate=False)
    assert failure.value.code == grpc.StatusCode.INVALID_ARGUMENT


def test_a_newer_version_that_takes_something_else_is_noticed(client, server, model, fake, images):
    client.predict(images)
    newer = fake.Model()
    newer.version = 2
    right = model.declared()
    right[names.SERVING_DEFAULT]["inputs"]["pictures"] = right[names.SERVING_DEFAULT]["inputs"].pop(names.IMAGES)
    newer.declared = lambda: right
    renamed = newer.predict
    newer.predict = lambda signature, inputs: renamed(
        signature, {names.IMAGES: inputs["pictures"]} | {name: inputs[name] for name in inputs if name == names.K}
    )
    server.models[2] = newer
    assert client.predict({"pictures": images})


def test_versions_and_labels_can_be_asked(client, server, fake, images):
    second = fake.Model(seed=1)
    second.version = 2
    server.models[2] = second
    server.labels["stable"] = 1
    first = client.predict(images, 8, version=1)[names.PROBABILITIES]
    newest = client.predict(images, 8)[names.PROBABILITIES]
    assert not np.array_equal(first, newest)
    np.testing.assert_array_equal(client.predict(images, 8, label="stable")[names.PROBABILITIES], first)
    assert client.metadata(label="stable").version == 1
    assert client.info(version=2).export_id == second.export_id
    with pytest.raises(InputError, match="pass one of them"):
        client.predict(images, version=1, label="stable")
    with pytest.raises(ServerError, match="Unrecognized servable version label: nosuch"):
        client.info(label="nosuch")


def test_metadata_gives_dtypes_shapes_and_defaults(client):
    signature = client.metadata().signature(names.SERVING_DEFAULT)
    assert signature.default_k == 2
    assert signature.inputs[names.IMAGES].dtype == "float32"
    assert signature.inputs[names.IMAGES].shape == (-1, 4, 4, 1)
    assert signature.inputs[names.K].shape is None


def test_info_is_the_identity_of_the_export(client, model):
    info = client.info()
    assert (info.export_id, info.k, info.labels) == (model.export_id, 2, model.labels)
    assert info.preprocessing == "unit"
    model.preprocessing = None
    assert client.info().preprocessing is None


def test_an_identity_that_cannot_be_read_is_a_decode_error(client, model):
    model.info = lambda probe: {names.K: np.array([1])}
    with pytest.raises(DecodeError, match="does not answer with an identity"):
        client.info()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (names.K, np.array([2.5], np.float32), r"answers k \[2\.5\]"),
        (names.LABELS, np.array([b"[" * 100_000], object), "does not answer with an identity"),
    ],
)
def test_an_identity_of_another_type_is_a_decode_error(client, model, name, value, said):
    right = model.info
    model.info = lambda probe: right(probe) | {name: value}
    with pytest.raises(DecodeError, match=said):
        client.info()


def test_status_lists_versions_newest_first(client, server, fake):
    second = fake.Model()
    second.version, second.state = 2, "LOADING"
    server.models[2] = second
    assert client.status() == (VersionStatus(2, "LOADING"), VersionStatus(1, "AVAILABLE"))


def test_waiting_is_for_the_version_asked_for(client, server, fake):
    client.wait_until_ready()
    with pytest.raises(UnreachableError, match="version 2 of model letters was not ready"):
        client.wait_until_ready(version=2, timeout=1)
    second = fake.Model()
    second.version, second.state = 2, "LOADING"
    server.models[2] = second
    with pytest.raises(UnreachableError, match="version 2 is LOADING"):
        client.wait_until_ready(version=2, timeout=2)
    second.state = "AVAILABLE"
    client.wait_until_ready(version=2, timeout=60)


def test_waiting_is_for_the_label_asked_for(client, server, images):
    with pytest.raises(UnreachableError, match=r"labeled canary was not ready in time: .*label: canary"):
        client.wait_until_ready(label="canary", timeout=0.5)
    server.labels["canary"] = 1
    client.wait_until_ready(label="canary", timeout=5)
    assert client.predict(images, label="canary")


def test_waiting_bears_a_server_that_comes_later(connect, fake, model):
    server = fake.Server(model)
    port = server.port
    server.stop()
    with connect(f"localhost:{port}", "letters", timeout=5) as client:
        with pytest.raises(UnreachableError):
            client.wait_until_ready(timeout=0.5)
        server = fake.Server(model, port)
        client.wait_until_ready(timeout=60)
        server.stop()


def test_classify_sends_features_and_gives_classes_with_scores(client, model):
    model.classify = lambda examples: (
        [[example.features.feature["name"].bytes_list.value[0]] for example in examples],
        [[0.5]] * len(examples),
    )
    answer = client.classify([{"name": "a", "k": 2, "size": [0.5, 1.5]}, {"name": b"b", "k": [1]}])
    assert answer == [[("a", 0.5)], [("b", 0.5)]]
    with pytest.raises(InputError, match="no examples"):
        client.classify([])
    with pytest.raises(InputError, match="feature name"):
        client.classify([{"name": {"a": 1}}])


def test_reload_sends_the_whole_configuration(client, server):
    text = 'model_config_list { config { name: "letters" base_path: "/m" version_labels { key: "stable" value: %d } } }'
    client.reload(text % 1)
    assert server.labels == {"stable": 1}
    with pytest.raises(ServerError, match="not currently available"):
        client.reload(text % 7)
    with pytest.raises(InputError, match=r"not a models\.config"):
        client.reload("model_config_list: 3")


def test_no_server_is_one_sentence_within_the_timeout(connect, fake, model, images):
    server = fake.Server(model)
    server.stop()
    started = time.monotonic()
    with connect(server.address, "letters", timeout=1) as client, pytest.raises(UnreachableError) as failure:
        client.predict(images)
    assert time.monotonic() - started < 5
    assert "\n" not in str(failure.value)


def test_a_server_that_hangs_is_left_at_the_deadline(connect, server, model, images):
    right = model.predict
    model.predict = lambda signature, inputs: (time.sleep(1), right(signature, inputs))[1]
    with connect(server.address, "letters", timeout=0.3) as client, pytest.raises(UnreachableError, match=r"0\.3 s"):
        client.predict(images)


def test_passing_unavailability_is_retried(client, model, fake, images):
    right, calls = model.predict, []

    def predict(signature, inputs):
        calls.append(signature)
        if len(calls) < 3:
            raise fake.Error([grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED][len(calls) - 1], "busy")
        return right(signature, inputs)

    model.predict = predict
    assert client.predict(images)
    assert len(calls) == 3


def test_answers_larger_than_four_megabytes_come_through(client, model):
    model.info = lambda probe, right=model.info: right(probe) | {names.MODEL: np.array([b"x" * 6_000_000], object)}
    assert len(client.info().model) == 6_000_000


def test_the_asyncio_client_makes_calls_at_once(server, images):
    async def several():
        async with AsyncServingClient(server.address, "letters") as client:
            return await asyncio.gather(*(client.predict(images, k=k) for k in range(8)))

    answers = asyncio.run(several())
    for k, answer in enumerate(answers):
        assert (np.count_nonzero(answer[names.PROBABILITIES], axis=1) == k).all()


def test_an_asyncio_client_made_before_the_loop_is_used_in_one_loop_after_another(server, model):
    client = AsyncServingClient(server.address, "letters", timeout=5)
    for _ in range(2):
        assert asyncio.run(client.info()).export_id == model.export_id
    asyncio.run(client.close())


def test_a_cancelled_call_leaves_the_others_alone(server, images):
    async def several():
        async with AsyncServingClient(server.address, "letters", timeout=5) as client:
            calls = [asyncio.create_task(client.predict(images)) for _ in range(8)]
            await asyncio.sleep(0)
            for call in calls[::2]:
                call.cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

    answers = asyncio.run(several())
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::2])
    assert all(names.PROBABILITIES in answer for answer in answers[1::2])


def test_an_error_comes_whole_out_of_another_process():
    for kind in (ServerError, UnreachableError):
        error = pickle.loads(pickle.dumps(kind("the server is busy", grpc.StatusCode.RESOURCE_EXHAUSTED)))
        assert (type(error), str(error)) == (kind, "the server is busy")
        assert error.code == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("version", [-1, 2**63])
def test_a_version_that_no_request_can_name_is_refused(client, version):
    with pytest.raises(InputError, match=f"version is {version}: pass a whole number"):
        client.status(version=version)


def test_the_asyncio_client_checks_too(client, version):
    assert client.check(version).passed
