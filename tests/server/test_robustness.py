"""What no client should send, and what no operator should try under load: the server goes on answering."""

import itertools
import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    predict_pb2,
    regression_pb2,
)

from server.tensors import MAX_FILLED_BYTES, encode

# The full run is FUZZ_REQUESTS=20000; the default keeps the suite short.
REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "1500"))
HUNDRED_MEGABYTES_EVERY = 4000
SEED = 20
PREDICTION = "/tensorflow.serving.PredictionService/"
MODEL_SERVICE = "/tensorflow.serving.ModelService/"
# What the real server may answer with: its own checks, the graph's, and gRPC's.
POSSIBLE = {
    "OK",
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "FAILED_PRECONDITION",
    "INTERNAL",
    "UNIMPLEMENTED",
    "RESOURCE_EXHAUSTED",
    "OUT_OF_RANGE",
}
DT_RESOURCE = 20


def good_requests(ask):
    """Methods with requests that are answered."""
    classify = classification_pb2.ClassificationRequest()
    classify.model_spec.name = "scaler"
    classify.model_spec.signature_name = "classify"
    classify.input.example_list.examples.add().features.feature["x"].float_list.value.append(2.0)
    regress = regression_pb2.RegressionRequest(model_spec={"name": "scaler", "signature_name": "regress"})
    regress.input.CopyFrom(classify.input)
    multi = inference_pb2.MultiInferenceRequest(input=classify.input)
    multi.tasks.add(method_name="tensorflow/serving/regress").model_spec.CopyFrom(regress.model_spec)
    metadata = get_model_metadata_pb2.GetModelMetadataRequest(
        model_spec={"name": "scaler"}, metadata_field=["signature_def"]
    )
    status = get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "scaler"})
    return [
        (PREDICTION + "Predict", ask.request({"x": np.arange(8, dtype=np.float32)}, "scale")),
        (PREDICTION + "Predict", ask.request({"words": np.array([b"one", b"\xff"], object)}, "look_up")),
        (PREDICTION + "Classify", classify),
        (PREDICTION + "Regress", regress),
        (PREDICTION + "MultiInference", multi),
        (PREDICTION + "GetModelMetadata", metadata),
        (MODEL_SERVICE + "GetModelStatus", status),
    ]


def mutated(chance, data):
    data = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] = chance.randrange(256)
        elif kind == 1:
            del data[at : at + chance.randrange(1, 9)]
        elif kind == 2:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
        elif kind == 3:
            data[at:at] = data[chance.randrange(len(data) + 1) :][:40]
        else:
            del data[at:]
    return bytes(data)


def absurd_tensor(chance, request):
    tensor = request.inputs["x"]
    kind = chance.randrange(5)
    if kind == 0:
        sizes = chance.choices([-1, -(1 << 63), 0, 1, 2, 7, 1 << 20, 1 << 40, (1 << 63) - 1], k=chance.randrange(1, 6))
        tensor.tensor_shape.ClearField("dim")
        for size in sizes:
            tensor.tensor_shape.dim.add(size=size)
    elif kind == 1:
        tensor.dtype = chance.choice([*(set(range(30)) - {DT_RESOURCE}), 101, 113, 99999])
    elif kind == 2:
        tensor.ClearField("float_val")
        tensor.tensor_content = chance.randbytes(chance.choice((1, 31, 33, 4096)))
    elif kind == 3:
        tensor.tensor_shape.unknown_rank = True
    else:
        for _ in range(chance.choice((2, 254, 255, 3000))):
            tensor.tensor_shape.dim.add(size=1)
    return request.SerializeToString()


def ends_the_real_server(method, data):
    """Whether a request has a tensor of resources with values in it, which no real server survives."""
    if method != PREDICTION + "Predict":
        return False
    try:
        request = predict_pb2.PredictRequest.FromString(data)
    except DecodeError:
        return False
    return any(tensor.dtype == DT_RESOURCE for tensor in request.inputs.values())


def malformed(ask):
    """Endless pairs of a method and bytes, from one seed, that a server must survive."""
    for method, data in anything(ask):
        if not ends_the_real_server(method, data):
            yield method, data


def anything(ask):
    chance = random.Random(SEED)
    good = [(method, request.SerializeToString()) for method, request in good_requests(ask)]
    methods = [method for method, _ in good]
    # The largest tensor that is filled up comes first, so that memory has its height from the start.
    largest = ask.request({"x": np.ones(8, np.float32)}, "scale")
    largest.inputs["x"].tensor_shape.dim[0].size = MAX_FILLED_BYTES // 4
    yield PREDICTION + "Predict", largest.SerializeToString()
    for number in itertools.count(1):
        if number % HUNDRED_MEGABYTES_EVERY == 1:
            large = encode(np.zeros((1, 25_000_000), np.float32), as_content=True)
            yield PREDICTION + "Predict", ask.request({"x": large}, "scale").SerializeToString()
            continue
        kind = chance.randrange(10)
        if kind < 3:
            yield chance.choice(methods), chance.randbytes(chance.choice((1, 10, 100, 10_000)))
        elif kind < 7:
            method, data = chance.choice(good)
            yield method, mutated(chance, data)
        elif kind < 9:
            yield PREDICTION + "Predict", absurd_tensor(chance, ask.request({"x": np.ones(8, np.float32)}, "scale"))
        else:
            # Groups within groups, and lengths within lengths.
            depth = chance.choice((50, 99, 101, 5000))
            nested = b""
            for _ in range(min(depth, 120)):
                nested = b"\x0a" + bytes([len(nested) & 0x7F]) + nested[:127]
            yield chance.choice(methods), chance.choice((b"\x0b" * depth, nested))


def resident_megabytes(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.mark.timeout(3600)
def test_malformed_requests_are_errors_and_the_server_lives(launch, make_version, base, client):
    make_version(base / "1", 3.0)
    address, process, _ = launch(model_base_path=base, alone=True)
    ask = client(address)
    grpc.channel_ready_future(ask.channel).result(timeout=120)
    calls = {method: ask.channel.unary_unary(method) for method, _ in good_requests(ask)}
    memory = []
    codes = set()
    for number, (method, data) in zip(range(1, REQUESTS + 1), malformed(ask), strict=False):
        try:
            calls[method](data, timeout=60)
            codes.add("OK")
        except grpc.RpcError as error:
            code, message = error.code().name, error.details()
            codes.add(code)
            assert code in POSSIBLE, f"request {number} to {method}: {code} {message!r} for {data[:200]!r}"
            assert "stand-in server failed" not in message, f"request {number} to {method}: {message!r}"
        if number % 100 == 0:
            assert ask.scale(number) == [3 * number]
            memory.append(resident_megabytes(process))
    assert process.poll() is None
    assert {"INVALID_ARGUMENT", "INTERNAL", "NOT_FOUND"} <= codes
    middle, end = max(memory[: len(memory) // 2]), memory[-1]
    assert end < middle + 100, f"resident memory went from {middle:.0f} MB to {end:.0f} MB"
    print(f"{REQUESTS} malformed requests; codes {sorted(codes)}; {middle:.0f} MB half way, {end:.0f} MB at the end")


def test_a_tensor_of_resources_is_refused_here(stand_in_only, running, client):
    """It ends the real server's process; nobody needs that imitated."""
    ask = client(running)
    request = ask.request({"x": np.ones(2, np.float32)}, "scale")
    request.inputs["x"].dtype = DT_RESOURCE
    with pytest.raises(grpc.RpcError, match="tensor parsing error: x"):
        ask.prediction.Predict(request, timeout=20)
    assert ask.scale(2) == [6]


def test_ten_versions_swapped_in_under_load_fail_no_request(serve, make_version, base, client):
    make_version(base / "1", 1.0)
    ask = client(serve(model_base_path=base, grpc_max_threads=32))
    stop = threading.Event()
    newest = [1]

    def keep_asking():
        answers = 0
        while not stop.is_set():
            oldest = newest[0]
            outputs, version = ask.predict({"x": np.float32([2])}, "scale")
            assert outputs["y"].tolist() == [2.0 * version], "an answer that is not its version's"
            assert version >= oldest, f"version {version} answered when {oldest} had replaced it"
            answers += 1
        return answers

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(keep_asking) for _ in range(16)]
        try:
            for number in range(2, 12):
                make_version(base / str(number), float(number))
                expected = dict.fromkeys(range(1, number), "END") | {number: "AVAILABLE"}
                ask.wait_for(expected)
                newest[0] = number
        finally:
            stop.set()
        assert all(future.result() > 0 for future in futures)
