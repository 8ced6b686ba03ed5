"""What `serving-client emit-request` writes is answered, over REST and gRPC, as `predict` is."""

import json

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="exporting and serving need TensorFlow")

from client import ServerError, ServingClient, UnreachableError
from client.cli.commands import run
from client.rest.http import RestServer
from client.rest.json_forms import read_classes, read_outputs
from client.rpc.calls import CLASSIFY
from client.rpc.codec import decode_tensor
from client.rpc.messages import ClassificationResponse, PredictResponse
from client.rpc.metadata import Target
from signatures.contract import names

KEYS = (names.SERVING_DEFAULT, names.TOP_K, names.FIXED_K, names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K)


@pytest.fixture
def client(digits_server):
    with ServingClient(f"localhost:{digits_server.port}", "digits") as client:
        yield client


@pytest.fixture
def emit(digits_server, tmp_path, capfd):
    """A function that writes a request and returns what the command says, the JSON and the message."""

    def call(*arguments):
        options = ["--address", f"localhost:{digits_server.port}", "--model", "digits"]
        status = run([*options, "emit-request", "--output", str(tmp_path), "--json", *map(str, arguments)])
        out, err = capfd.readouterr()
        assert (status, err) == (0, "")
        document = json.loads((tmp_path / "request.json").read_text())
        return json.loads(out), document, (tmp_path / "request.pb").read_bytes()

    return call


def same(found, expected):
    for name, array in expected.items():
        if array.dtype == object:
            assert found[name].tolist() == array.tolist()
        else:
            np.testing.assert_allclose(found[name], array, rtol=1e-6)


@pytest.mark.parametrize("form", [(), ("--columns",)], ids=["rows", "columns"])
@pytest.mark.parametrize("key", KEYS)
def test_a_request_is_answered_over_rest_and_grpc_as_predict_is(emit, client, digits_server, sample_images, key, form):
    k = () if key == names.FIXED_K else ("--k", 3)
    said, document, message = emit(*sample_images[:3], "--signature", key, *k, *form)
    assert said["examples"] == 3
    over_grpc = PredictResponse.FromString(client.transport.send(said["method"], message, 10))
    outputs = {name: decode_tensor(tensor) for name, tensor in over_grpc.outputs.items()}
    assert outputs
    rest = RestServer(f"localhost:{digits_server.rest_port}", 10)
    answer = rest.post(Target("digits"), "predict", document)
    same(read_outputs(answer, client.metadata().signature(key).outputs), outputs)


def test_k_left_out_is_the_default_which_rest_does_not_fill_in(emit, sample_images):
    _, document, _ = emit(*sample_images[:2])
    assert [row["k"] for row in document["instances"]] == [2, 2]


def test_classify_is_written_too(emit, client, digits_server, sample_images):
    said, document, message = emit(*sample_images[:2], "--signature", names.CLASSIFY, "--k", "2")
    assert said["method"] == CLASSIFY
    assert said["curl"].endswith("/v1/models/digits:classify")
    answer = RestServer(f"localhost:{digits_server.rest_port}", 10).post(Target("digits"), "classify", document)
    over_grpc = ClassificationResponse.FromString(client.transport.send(CLASSIFY, message, 10)).result
    expected = [[one.label for one in classes.classes] for classes in over_grpc.classifications]
    assert [[label for label, _ in classes] for classes in read_classes(answer)] == expected


def test_what_rest_refuses_is_told_with_its_words(digits_server):
    rest = RestServer(f"localhost:{digits_server.rest_port}", 10)
    with pytest.raises(ServerError, match="answers 404 over REST: Servable not found for request: Latest\\(absent\\)"):
        rest.post(Target("absent"), "predict", {"instances": [1]})
    with pytest.raises(UnreachableError, match="does not answer over REST"):
        RestServer("localhost:1", 1).get(Target("digits"))


def test_golden_records_become_a_request(emit, digits_version):
    said, document, _ = emit("--golden", digits_version, "--signature", names.TOP_K)
    assert said["examples"] == len(document["instances"]) == 32
