"""Replay recorded requests against a server and compare its answers with the real server's.

usage: python replay.py HOST:PORT plain.jsonl|batched.jsonl

The server must serve `fixture/` (a model base path with version 1) under the model name `fixture`.
`plain.jsonl` was recorded from tensorflow_model_server 2.20.0 with no batching, `batched.jsonl` with
--enable_batching. Exit status 0 when every answer agrees: the same status code, the same message (graph node
names aside), and for OK the same response with numbers within 1e-5.
"""

import base64
import json
import re
import sys
from pathlib import Path

import grpc
import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

MESSAGES = {
    "Predict": (predict_pb2.PredictRequest, predict_pb2.PredictResponse),
    "Classify": (classification_pb2.ClassificationRequest, classification_pb2.ClassificationResponse),
    "GetModelMetadata": (
        get_model_metadata_pb2.GetModelMetadataRequest,
        get_model_metadata_pb2.GetModelMetadataResponse,
    ),
    "GetModelStatus": (get_model_status_pb2.GetModelStatusRequest, get_model_status_pb2.GetModelStatusResponse),
}


def tensor(proto):
    shape = [d.size for d in proto.tensor_shape.dim]
    if proto.dtype == 7:
        return np.array(list(proto.string_val), dtype=object).reshape(shape)
    dtype, field = {1: ("f4", proto.float_val), 3: ("i4", proto.int_val), 9: ("i8", proto.int64_val)}[proto.dtype]
    if proto.tensor_content:
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = np.array(field, dtype)
    return np.full(shape, values[0]) if values.size == 1 else values.reshape(shape)


def signatures(response):
    packed = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(packed)
    return {key: sig for key, sig in packed.signature_def.items() if not key.startswith("__")}


def difference(rpc, expected, actual):
    """A sentence saying how two responses of one kind differ, or None."""
    if rpc == "Predict":
        if expected.model_spec != actual.model_spec:
            return f"model_spec {actual.model_spec} instead of {expected.model_spec}"
        if set(expected.outputs) != set(actual.outputs):
            return f"outputs {sorted(actual.outputs)} instead of {sorted(expected.outputs)}"
        for key in expected.outputs:
            want, have = tensor(expected.outputs[key]), tensor(actual.outputs[key])
            if want.shape != have.shape or expected.outputs[key].dtype != actual.outputs[key].dtype:
                return f"output {key}: {have.dtype}{have.shape} instead of {want.dtype}{want.shape}"
            same = np.array_equal(want, have) if want.dtype == object else np.allclose(want, have, rtol=1e-5, atol=1e-5)
            if not same:
                return f"output {key} differs"
        return None
    if rpc == "Classify":
        want = [[(c.label, round(c.score, 4)) for c in example.classes] for example in expected.result.classifications]
        have = [[(c.label, round(c.score, 4)) for c in example.classes] for example in actual.result.classifications]
        return None if want == have and expected.model_spec == actual.model_spec else f"{have} instead of {want}"
    if rpc == "GetModelMetadata":
        if expected.model_spec != actual.model_spec:
            return f"model_spec {actual.model_spec} instead of {expected.model_spec}"
        return None if signatures(expected) == signatures(actual) else "signature_def differs"
    return None if expected == actual else f"{actual} instead of {expected}"


def readable(message):
    """The message without graph node names, which no two servers need to share."""
    return re.sub(r"_arg_\w+", "_arg", re.sub(r"\n?\t? ?\[\[.*", "", message, flags=re.S)).strip()


def main(address, path):
    channel = grpc.insecure_channel(address)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    model = model_service_pb2_grpc.ModelServiceStub(channel)
    failed = total = 0
    for line in Path(path).read_text().splitlines():
        case = json.loads(line)
        request_type, response_type = MESSAGES[case["rpc"]]
        request = request_type.FromString(base64.b64decode(case["request"]))
        service = model if case["rpc"] == "GetModelStatus" else prediction
        total += 1
        try:
            actual, code, message = getattr(service, case["rpc"])(request, timeout=20), "OK", ""
        except grpc.RpcError as error:
            actual, code, message = None, error.code().name, error.details()
        if code != case["code"]:
            problem = f"{code} {message[:200]!r} instead of {case['code']} {case.get('message', '')[:200]!r}"
        elif code == "OK":
            problem = difference(case["rpc"], response_type.FromString(base64.b64decode(case["response"])), actual)
        else:
            want, have = readable(case["message"]), readable(message)
            problem = None if want == have else f"message {have[:300]!r} instead of {want[:300]!r}"
        if problem:
            failed += 1
            print(f"{case['name']}: {problem}")
    print(f"{total - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
