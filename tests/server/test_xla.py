"""Functions with jit_compile=True: refused at each request unless the flag allows them."""

import numpy as np


def test_a_compiled_signature_fails_each_request_and_the_others_serve(running, client):
    ask = client(running)
    for _ in range(2):
        code, message = ask.error({"x": np.float32([1])}, "compiled")
        assert code == "INTERNAL"
        assert message.startswith("XLA compilation disabled")
    assert ask.scale(2) == [6]


def test_a_compiled_signature_serves_with_the_flag(serve, make_version, base, client):
    make_version(base / "1", 5.0)
    ask = client(serve(model_base_path=base, xla_cpu_compilation_enabled=True))
    assert ask.predict({"x": np.float32([2])}, "compiled")[0]["y"].tolist() == [10]
