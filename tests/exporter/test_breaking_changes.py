"""What an export says, or refuses, that would break callers of the newest published version."""

import json

import keras
import pytest
from click.testing import CliRunner

from exporter import Classifier, ExportOptions, ValidationError, export
from exporter.cli.command import main
from exporter.store.breaking_changes import published_interface
from signatures.contract.interface import Interface, breaking_changes

FORBID = ExportOptions(forbid_breaking_changes=True)


def spec(shape, dtype="float32"):
    return {"dtype": dtype, "shape": shape}


def interface(inputs=None, outputs=None, labels=("a", "b"), method="predict", key="top_k", preprocessing=None):
    declared = {
        "method": method,
        "inputs": {"x": spec([-1, 4])} if inputs is None else inputs,
        "outputs": {"scores": spec([-1, -1])} if outputs is None else outputs,
    }
    return Interface({key: declared}, labels, preprocessing)


X = {"x": spec([-1, 4])}
MORE = {"scores": spec([-1, -1]), "embedding": spec([-1, 3])}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {}, []),
        ({}, {"key": "other"}, ["the signature top_k is gone"]),
        ({}, {"method": "classify"}, ["the method is classify, and was predict (top_k)"]),
        (
            {},
            {"inputs": {"y": spec([-1, 4])}},
            ["the input x is now called y: pass --input-name y=x to keep the name (top_k)"],
        ),
        (
            {},
            {"inputs": {"y": spec([-1, 5])}},
            ["the input x is gone (top_k)", "requests must hold the new input y (top_k)"],
        ),
        ({}, {"inputs": {**X, "y": spec([-1])}}, ["requests must hold the new input y (top_k)"]),
        ({"inputs": {**X, "y": spec([-1])}}, {}, ["the input y is gone (top_k)"]),
        (
            {},
            {"inputs": {**X, "min_score": spec(None)}},
            ["requests over REST must hold the new input min_score, which has a default for others (top_k)"],
        ),
        ({}, {"inputs": {"x": spec([-1, 4], "int32")}}, ["the input x is int32, and was float32 (top_k)"]),
        ({}, {"inputs": {"x": spec([-1, 5])}}, ["the input x is of shape [any, 5], and was of [any, 4] (top_k)"]),
        ({}, {"inputs": {"x": spec([-1])}}, ["the input x is of shape [any], and was of [any, 4] (top_k)"]),
        (
            {"inputs": {"x": spec([-1, -1])}},
            {},
            ["the input x is of shape [any, 4], and was of [any, any] (top_k)"],
        ),
        # An input of any size takes what one of a certain size did.
        ({}, {"inputs": {"x": spec([-1, -1])}}, []),
        ({}, {"inputs": {"x": spec(None)}}, []),
        ({"inputs": {"x": spec(None)}}, {}, ["the input x is of shape [any, 4], and was of any rank (top_k)"]),
        # More outputs break nobody, and neither do sizes that are now certain.
        ({}, {"outputs": MORE}, []),
        ({"outputs": MORE}, {}, ["the output embedding is gone (top_k)"]),
        (
            {"outputs": MORE},
            {"outputs": {**MORE, "embedding": spec([-1, 5])}},
            ["the output embedding is of shape [any, 5], and was of [any, 3] (top_k)"],
        ),
        (
            {"outputs": MORE},
            {"outputs": {**MORE, "embedding": spec([-1, 3], "float16")}},
            ["the output embedding is float16, and was float32 (top_k)"],
        ),
        ({}, {"outputs": {"scores": spec([-1, 2])}}, []),
        ({}, {"labels": ("a", "b", "c")}, []),
        # A label more widens what holds all scores, which is said of the labels alone.
        *(
            ({"outputs": {name: spec([-1, 2])}}, {"outputs": {name: spec([-1, 3])}, "labels": ("a", "b", "c")}, [])
            for name in ("probabilities", "dense_probabilities")
        ),
        ({}, {"labels": ("b", "a")}, ["2 labels, the first 'a', are at another index"]),
        ({}, {"labels": ("a",)}, ["the label 'b' is gone"]),
        ({}, {"labels": ("b",)}, ["the label 'a' is gone", "the label 'b' is at another index"]),
        (
            {"labels": ("a", "a")},
            {"labels": ("a", "c")},
            ["the label 'a' is gone", "the label 'a' is at another index"],
        ),
        (
            {"preprocessing": "unit"},
            {"preprocessing": "tf"},
            ["the preprocessing is tf, and was unit"],
        ),
    ],
)
def test_each_change_is_told_by_whether_it_breaks_callers(before, after, expected):
    assert breaking_changes(interface(**before), interface(**after)) == expected


def model(name="x", labels=3, shape=(4,)):
    return keras.Sequential(
        [keras.Input(shape, name=name), keras.layers.Flatten(), keras.layers.Dense(labels, activation="sigmoid")]
    )


def breaking(version):
    return [warning for warning in version.warnings if "would break" in warning]


def test_an_export_warns_of_every_change_once_and_compares_with_the_newest_version(tmp_path):
    first = export(Classifier(model("x"), "toy", labels=("a", "b", "c")), tmp_path)
    same = export(Classifier(model("x"), "toy", labels=("a", "b", "c")), tmp_path)
    renamed = export(Classifier(model("y"), "toy", labels=("a", "c", "b")), tmp_path)
    again = export(Classifier(model("y"), "toy", labels=("a", "c", "b")), tmp_path)

    assert [breaking(each) for each in (first, same, again)] == [[], [], []]
    keys = "serving_default, top_k, fixed_k"
    assert breaking(renamed) == [
        "Callers of version 2 of toy would break: the input x is now called y: pass --input-name y=x to keep the name "
        f"({keys}).",
        "Callers of version 2 of toy would break: 2 labels, the first 'b', are at another index.",
    ]


def test_what_is_forbidden_publishes_nothing_and_leaves_nothing(tmp_path):
    export(Classifier(model("x"), "toy"), tmp_path)
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))

    with pytest.raises(ValidationError, match="Callers of version 1 of toy would break: the input x is now called y"):
        export(Classifier(model("y"), "toy"), tmp_path, options=FORBID)

    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before
    kept = Classifier(model("y"), "toy", input_names={"y": "x"})
    assert export(kept, tmp_path, options=FORBID).version == 2


def test_the_command_refuses_with_status_1(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model("x").save("toy.keras")
    model("y").save("other.keras")
    assert CliRunner().invoke(main, ["toy.keras"]).exit_code == 0
    other = ["other.keras", "--name=toy", "--forbid-breaking-changes"]

    assert CliRunner().invoke(main, other).exit_code == 1
    done = CliRunner().invoke(main, [*other, "--input-name=y=x", "--json"])

    assert done.exit_code == 0
    assert json.loads(done.stdout)["version"] == 2


def test_a_version_that_another_tool_wrote_is_compared_by_its_signatures(tmp_path):
    model("x").export(tmp_path / "toy" / "1", verbose=False)

    version = export(Classifier(model("x"), "toy"), tmp_path)

    told = " ".join(breaking(version))
    assert "the signature serve is gone" in told
    assert "the output output_0 is gone (serving_default)" in told
    assert "the input" not in told


def test_a_damaged_version_keeps_nobody_from_exporting(tmp_path):
    first = export(Classifier(model("x"), "toy"), tmp_path)
    record = first.path / "assets.extra" / "export.json"
    stated = json.loads(record.read_text())
    record.write_text(json.dumps({**stated, "signatures": {"top_k": 3}}))

    second = export(Classifier(model("x"), "toy"), tmp_path, options=FORBID)

    assert any("is unknown what would break callers of version 1" in warning for warning in second.warnings)
    (second.path / "assets.extra" / "export.json").unlink()
    (second.path / "saved_model.pb").write_bytes(b"\x08\x01\x12")
    assert published_interface(second.path) is None
    assert export(Classifier(model("x"), "toy"), tmp_path, options=FORBID).version == 3
