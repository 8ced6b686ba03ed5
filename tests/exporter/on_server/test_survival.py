"""Malformed requests: what they are, and what becomes of a server that does not survive or refuse them."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

from exporter.errors import ValidationError
from exporter.validation.on_server import readiness, survival
from exporter.validation.on_server.malformed import malformed_requests
from exporter.validation.on_server.survival import FailedByRequestError, survive
from exporter.validation.on_server.target import Target

TARGET = Target("binary", "", "/usr/bin/a_server")


class Scripted:
    """A gRPC server in this process that answers as a function of the request says; the function may end it."""

    def __init__(self, answer):
        self._answer = answer
        self._ended = None

    def ended(self):
        return self._ended

    def log(self):
        return "F tensor_shape.cc:357] Check failed: index >= 0" if self._ended else ""

    def handle(self, request, context):
        said = "it was ended by SIGABRT" if self._ended else self._answer(request)
        if isinstance(said, grpc.StatusCode):
            context.abort(said, "no")
        if isinstance(said, str):
            self._ended = said
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")
        return b""


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, server):
        self._server = server

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self._server.handle)


@pytest.fixture
def scripted():
    """A function that serves with an answer, and returns the server and its address."""
    started = []

    def serve(answer):
        server = Scripted(answer)
        grpc_server = grpc.server(ThreadPoolExecutor(2))
        grpc_server.add_generic_rpc_handlers([Handlers(server)])
        port = grpc_server.add_insecure_port("127.0.0.1:0")
        grpc_server.start()
        started.append(grpc_server)
        return server, f"127.0.0.1:{port}"

    yield serve
    for each in started:
        each.stop(0).wait()


@pytest.fixture
def good(digits_version):
    """The serialized requests of the warm-up, as they are sent in the end."""
    from exporter.validation.on_server.malformed import good_requests

    return {request.SerializeToString() for request in good_requests(digits_version, 3)}


def is_of_rank_2(request):
    try:
        images = predict_pb2.PredictRequest.FromString(request).inputs["images"]
    except Exception:
        return False
    return images.dtype == types_pb2.DT_FLOAT and len(images.tensor_shape.dim) == 2


def test_a_request_that_ends_a_server_is_named_and_kept(scripted, servable, digits_version):
    def answer(request):
        return "it was ended by SIGABRT" if is_of_rank_2(request) else grpc.StatusCode.INVALID_ARGUMENT

    with pytest.raises(FailedByRequestError, match="did not survive images of rank 2, to serving_default") as caught:
        survive(*scripted(answer), TARGET, servable(digits_version))
    assert "it was ended by SIGABRT" in str(caught.value)
    assert str(caught.value).endswith("F tensor_shape.cc:357] Check failed: index >= 0")
    assert is_of_rank_2(caught.value.request.message)


def test_a_server_that_hangs_is_refused(scripted, servable, digits_version, monkeypatch):
    monkeypatch.setattr(survival, "REQUEST_SECONDS", 0.2)
    import threading

    release = threading.Event()

    def answer(request):
        if is_of_rank_2(request):
            release.wait(30)
        return grpc.StatusCode.INVALID_ARGUMENT

    with pytest.raises(FailedByRequestError, match=r"did not answer images of rank 2, to serving_default, in 0\.2 s"):
        survive(*scripted(answer), TARGET, servable(digits_version))
    release.set()


def test_a_server_that_answers_what_must_be_refused_is_refused(scripted, servable, digits_version):
    with pytest.raises(FailedByRequestError, match="images of one more dimension, to serving_default"):
        survive(*scripted(lambda request: None), TARGET, servable(digits_version))


def test_a_server_that_answers_good_requests_no_more_is_refused(scripted, servable, digits_version):
    with pytest.raises(ValidationError, match=r"no longer answers a good request to serving_default after \d+ malf"):
        survive(*scripted(lambda request: grpc.StatusCode.INVALID_ARGUMENT), TARGET, servable(digits_version))


def test_a_server_that_refuses_and_lives_passes(scripted, servable, digits_version, good, monkeypatch):
    monkeypatch.setattr(readiness, "_DYING_SECONDS", 0.1)

    def answer(request):
        # UNAVAILABLE alone, as a full queue says it, ends nobody.
        return None if request in good else grpc.StatusCode.UNAVAILABLE

    monkeypatch.setattr(survival, "how_it_died", lambda server: None)
    assert survive(*scripted(answer), TARGET, servable(digits_version)) > 50


def test_the_requests_are_wrong_in_every_way_that_is_known_to_end_a_server(digits_version):
    requests = {each.description: each for each in malformed_requests(digits_version, 3, empty=True)}

    assert {
        "images of rank 2, to serving_default",
        "images of another type, to top_k",
        "k of one more dimension, to serving_default",
        "k = NaN as float, to serving_default",
        "k = 2147483647, to top_k",
        "encoded_images with an animated WebP, to encoded_images",
        "encoded_images with a PNG of 60000 x 60000 pixels, to encoded_images_top_k",
        "examples with bytes that are no image, to classify",
        "images of no examples, to fixed_k",
        "an input that it does not have, to export_info",
        "bytes that are no request",
    } <= set(requests)
    # Values of type DT_RESOURCE end any server: nobody can guard against them.
    for each in requests.values():
        if each.method == "Predict" and each.description != "bytes that are no request":
            inputs = predict_pb2.PredictRequest.FromString(each.message).inputs
            assert all(tensor.dtype != types_pb2.DT_RESOURCE for tensor in inputs.values())
        elif each.method == "Classify":
            assert classification_pb2.ClassificationRequest.FromString(each.message).model_spec.version.value == 3


def test_requests_of_no_examples_are_left_out_where_they_would_wait_for_ever(digits_version):
    assert not any("no examples" in each.description for each in malformed_requests(digits_version, 3, empty=False))
