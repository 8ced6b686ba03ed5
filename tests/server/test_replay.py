"""The requests recorded from a real tensorflow_model_server 2.20, replayed against ours."""

import importlib.util
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parent / "recordings"


@pytest.fixture
def replay():
    spec = importlib.util.spec_from_file_location("replay", RECORDINGS / "replay.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.mark.parametrize("mode", ["plain", "batched"])
def test_every_recorded_request_gets_the_recorded_answer(serve, replay, capsys, mode):
    flags = {"enable_batching": True, "batching_parameters_file": RECORDINGS / "batching.config"}
    address = serve(
        model_name="fixture", model_base_path=RECORDINGS / "fixture", **(flags if mode == "batched" else {})
    )
    status = replay(address, RECORDINGS / f"{mode}.jsonl")
    assert status == 0, capsys.readouterr().out
