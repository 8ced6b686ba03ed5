"""What users of `client.testing` rely on: their code runs against it as against a server."""

import asyncio

import grpc
import numpy as np
import pytest

from client import AsyncServingClient, InputError, ServerError, ServingClient
from client.testing import MockTransport


def client(answers, inputs=None, **options):
    transport = MockTransport(answers, inputs=inputs or {"images": "float32"}, **options)
    return ServingClient("test:0", "digits", transport=transport), transport


def test_outputs_by_signature_are_answered_and_requests_can_be_looked_at():
    calls, transport = client({"serving_default": {"probabilities": [[0.0, 1.0]]}}, version=7)
    answer = calls.predict(np.zeros((1, 4), np.float32), k=1, version=7)
    assert answer["probabilities"].dtype == np.float32
    assert answer["probabilities"].tolist() == [[0.0, 1.0]]
    (request,) = transport.requests
    assert (request.signature, request.version, request.inputs["k"].tolist()) == ("serving_default", 7, [1])
    assert request.inputs["images"].shape == (1, 4)


def test_a_function_answers_every_signature_from_the_request():
    calls, _ = client(lambda request: {"probabilities": request.inputs["images"] * 2})
    assert calls.predict([[1.0, 2.0]], signature="fixed_k")["probabilities"].tolist() == [[2.0, 4.0]]


def test_errors_are_raised_as_a_server_would_answer_them():
    busy = ServerError("busy", grpc.StatusCode.RESOURCE_EXHAUSTED)
    calls, _ = client({"serving_default": busy})
    with pytest.raises(ServerError, match="busy") as caught:
        calls.predict([[1.0]])
    assert caught.value.code == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(InputError, match="no signature 'top_k', only serving_default"):
        calls.predict([[1.0]], signature="top_k")
    with pytest.raises(ServerError, match='"top_k" not found'):
        calls.predict({"images": [[1.0]]}, signature="top_k", validate=False)


def test_inputs_are_compared_with_what_is_declared():
    calls, _ = client({"serving_default": {"probabilities": [[0.0]]}}, {"text": "string"})
    with pytest.raises(InputError, match="input text of signature serving_default is string, not float32"):
        calls.predict(np.zeros((1,), np.float32))
    assert calls.predict(["a text"])["probabilities"].tolist() == [[0.0]]


def test_both_clients_take_it():
    transport = MockTransport({"serving_default": {"probabilities": [[0.5]]}}, inputs={"images": "float32"})

    async def ask():
        async with AsyncServingClient("test:0", "digits", transport=transport) as calls:
            await calls.wait_until_ready()
            return await calls.predict([[1.0]])

    assert asyncio.run(ask())["probabilities"].tolist() == [[0.5]]
    with ServingClient("test:0", "digits", transport=transport) as calls:
        calls.wait_until_ready()
        assert [status.state for status in calls.status()] == ["AVAILABLE"]
