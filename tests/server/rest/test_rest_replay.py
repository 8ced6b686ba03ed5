"""The REST requests recorded from a real tensorflow_model_server 2.20, replayed against ours."""

import base64
import json
import re
from pathlib import Path

import pytest

RECORDINGS = Path(__file__).parents[1] / "recordings"
CASES = [json.loads(line) for line in (RECORDINGS / "rest.jsonl").read_text().splitlines()]
NUMBER = re.compile(r"-?[0-9]+\.[0-9]+(?:e[+-]?[0-9]+)?")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A models.config for the recorded model, with label stable on version 1 as it was recorded."""
    path = tmp_path_factory.mktemp("config") / "models.config"
    path.write_text(
        f'model_config_list {{ config {{ name: "fixture" base_path: "{RECORDINGS / "fixture"}" '
        'model_platform: "tensorflow" version_labels { key: "stable" value: 1 } } }'
    )
    return path


@pytest.fixture
def rest(serve_rest, config):
    return serve_rest(model_config_file=config, allow_version_labels_for_unavailable_models=True)[1]


def same(expected, actual):
    """Whether two JSON values are the same, numbers within 1e-6, in messages too; graph nodes may have other names."""
    if isinstance(expected, dict):
        return (
            isinstance(actual, dict)
            and expected.keys() == actual.keys()
            and all(same(value, actual[key]) for key, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(actual, list)
            and len(expected) == len(actual)
            and all(same(*pair) for pair in zip(expected, actual, strict=True))
        )
    if isinstance(expected, float):
        return isinstance(actual, float) and abs(expected - actual) <= 1e-6
    if isinstance(expected, str) and isinstance(actual, str):
        words = [NUMBER.sub("#", readable(text)) for text in (expected, actual)]
        numbers = [list(map(float, NUMBER.findall(readable(text)))) for text in (expected, actual)]
        return words[0] == words[1] and same(*numbers)
    return type(expected) is type(actual) and expected == actual


def readable(message):
    return re.sub(
        r"_arg_\w+", "_arg", re.sub(r"\n?\t? ?\[\[.*", "", message, flags=re.DOTALL) if "{{node" in message else message
    )


def test_every_recorded_request_gets_the_recorded_answer(rest):
    assert len(CASES) == 58
    wrong = {}
    for case in CASES:
        body = None if case["body"] is None else base64.b64decode(case["body"])
        status, content_type, answer = rest(case["method"], case["path"], body)
        expected = base64.b64decode(case["answer"])
        if content_type == "application/json":
            is_same = same(json.loads(expected), json.loads(answer))
        else:
            is_same = expected == answer
        if (status, content_type) != (case["status"], case["content_type"]) or not is_same:
            wrong[case["name"]] = (status, content_type, answer[:400], case["status"], expected[:400])
    assert not wrong


@pytest.mark.usefixtures("stand_in_only")
def test_the_layout_is_the_recorded_one_too(rest):
    """Byte for byte, where all names come in one order and no graph node is named."""
    cases = {case["name"]: case for case in CASES}
    for name in (
        "row form, k in each instance",
        "column form, one k each",
        "fixed, a bare list of instances",
        "classify",
        "no instances",
        "classify, no examples",
        "floats for k",
        "an object with more than b64",
        "base64 that is none",
        "status",
    ):
        case = cases[name]
        body = None if case["body"] is None else base64.b64decode(case["body"])
        answer = rest(case["method"], case["path"], body)
        rounded = [
            re.sub(rb"[0-9]\.[0-9]{5,}", lambda match: match[0][:6], text)
            for text in (base64.b64decode(case["answer"]), answer.body)
        ]
        assert rounded[0] == rounded[1], name
