"""min_score and thresholds of an export: given, fitted, served, recorded, and used by the gate."""

import importlib.util
import json

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import f1_score, precision_score, recall_score

from client import ServingClient
from exporter import Classifier, ExportError, ExportOptions, Samples, export, load_classifier
from exporter.cli.command import main
from exporter.thresholds import LEAST, by_label, fit_thresholds, read_thresholds, rule_of
from exporter.validation.loaded import LoadedVersion
from exporter.writing.prediction_logs import read_requests
from server.config import Settings
from server.model_server import ModelServer
from signatures import Limits
from signatures.contract.record import ExportRecord

LABELS = ("a", "b", "c")


def echo():
    """A classifier whose scores are its inputs."""
    model = keras.Sequential([keras.Input((3,), name="scores"), keras.layers.Dense(3, kernel_initializer="identity")])
    return Classifier(model, "echo", labels=LABELS)


def labeled(count=200, seed=0):
    """Samples of three labels, the third of which is true of few."""
    random = np.random.default_rng(seed)
    truth = random.random((count, 3)) < (0.5, 0.3, 0.01)
    scores = np.clip(0.5 * truth + random.normal(0.2, 0.15, truth.shape), 0, 1).astype(np.float32)
    return Samples({"scores": scores}, truth=truth), scores


class TestFit:
    def test_f1_is_the_best_that_any_threshold_reaches(self):
        samples, scores = labeled()
        fit = fit_thresholds("f1", LABELS, samples, scores)
        for index in (0, 1):
            truth, threshold = samples.truth[:, index], fit.labels[index].threshold
            reached = f1_score(truth, scores[:, index] >= threshold)
            best = max(f1_score(truth, scores[:, index] >= score) for score in scores[:, index])
            assert reached == pytest.approx(best)
            # Halfway between two scores, so that rounding changes no decision.
            assert threshold not in scores[:, index]

    @pytest.mark.parametrize("target", [0.8, 0.95])
    def test_precision_is_reached_by_the_lowest_threshold_and_recall_by_the_highest(self, target):
        samples, scores = labeled()
        truth, first = samples.truth[:, 0], scores[:, 0]
        precise = fit_thresholds(f"precision={target}", LABELS, samples, scores).labels[0]
        assert precise.precision == pytest.approx(precision_score(truth, first >= precise.threshold))
        assert precise.precision >= target
        lower = [score for score in first if score < precise.threshold]
        assert all(precision_score(truth, first >= score) < target for score in lower)
        found = fit_thresholds(f"recall={target}", LABELS, samples, scores).labels[0]
        assert found.recall == pytest.approx(recall_score(truth, first >= found.threshold))
        assert found.recall >= target
        higher = [score for score in first if score > found.threshold]
        assert recall_score(truth, first > min(higher)) < target

    def test_a_label_with_too_few_positives_or_negatives_has_none_and_it_is_said(self):
        samples, scores = labeled()
        fit = fit_thresholds("f1", LABELS, samples, scores)
        positives = int(samples.truth[:, 2].sum())
        assert positives < LEAST
        assert fit.labels[2].threshold is None
        assert fit.labels[2].positives == positives
        assert fit.thresholds[2] == 0
        assert f"c ({positives} positives, fewer than 10)" in fit.warnings[-1]
        everywhere = Samples(samples.inputs, truth=np.ones_like(samples.truth))
        none = fit_thresholds("f1", LABELS, everywhere, scores)
        assert none.thresholds == ()
        assert none.labels[0].reason == "0 negatives, fewer than 10"

    def test_a_target_out_of_reach_leaves_the_label_without_one(self):
        samples, scores = labeled()
        backwards = fit_thresholds("precision=1", LABELS, samples, 1 - scores)
        assert backwards.labels[0].reason == "no score reaches a precision of 1"

    def test_only_samples_whose_labels_are_known_count(self):
        samples, scores = labeled()
        known = np.arange(200) < 100
        truth = np.where(known[:, None], samples.truth, ~samples.truth)
        fit = fit_thresholds("f1", LABELS, Samples(samples.inputs, truth=truth, known=known), scores)
        alone = fit_thresholds("f1", LABELS, samples.rows(0, 100), scores[:100])
        assert fit == alone
        assert fit.samples == 100

    def test_equal_scores_and_neighboring_numbers_keep_their_side(self):
        below = np.float32(0.5)
        above = np.nextafter(below, np.float32(1))
        truth = np.repeat([[False], [True]], 20, axis=0)
        scores = np.where(truth, above, below).astype(np.float32)
        (fit,) = fit_thresholds("f1", ["a"], Samples({"scores": scores}, truth=truth), scores).labels
        assert np.float32(fit.threshold) == above
        assert (fit.precision, fit.recall) == (1, 1)

    @pytest.mark.parametrize("rule", ["f2", "precision", "precision=0", "recall=1.5", "recall=x", "f1=0.5", "=1", ""])
    def test_a_rule_that_is_none_is_refused(self, rule):
        with pytest.raises(ExportError, match="use f1, precision=P or recall=R"):
            rule_of(rule)


def serving_client(server):
    return ServingClient(f"localhost:{server.port}", "echo")


def test_fitted_thresholds_are_served_recorded_said_and_used_by_the_gate(tmp_path):
    samples, scores = labeled()
    options = ExportOptions(fit_thresholds="f1", min_score=0.05)
    version = export(echo(), tmp_path, k=3, options=options, samples=samples)

    thresholds = np.array(version.limits.thresholds, np.float32)
    kept = scores >= np.maximum(thresholds, np.float32(0.05))
    record = ExportRecord.read(version.path)
    assert (record.min_score, record.thresholds) == (0.05, version.limits.thresholds)
    assert record.threshold_fit["labels"][0]["positives"] == samples.truth[:, 0].sum()
    assert any("better than on others" in warning for warning in version.warnings)
    assert any("c (" in warning for warning in version.warnings)
    with LoadedVersion(version.path) as loaded:
        served = loaded.call("serving_default", {"scores": scores})["probabilities"]
        np.testing.assert_array_equal(served, np.where(kept, scores, 0))
        np.testing.assert_array_equal(loaded.call("dense", {"scores": scores})["dense_probabilities"], scores)
    # Where a bound decides, 0.5 does not.
    assert version.quality.f1 == pytest.approx(f1_score(samples.truth, kept, average="micro"))
    assert (kept != (scores >= 0.5)).any()


def test_given_thresholds_are_checked_on_a_server_and_by_the_client(tmp_path):
    samples, _ = labeled(20)
    options = ExportOptions(thresholds={"b": 0.4}, min_score=0.3)
    version = export(echo(), tmp_path, k=2, options=options, samples=samples)
    assert version.limits.thresholds == (0.0, 0.4, 0.0)
    settings = Settings(model_name="echo", model_base_path=str(tmp_path / "echo"), port=0)
    with ModelServer(settings) as server, serving_client(server) as client:
        assert (client.info().min_score, client.info().thresholds) == (0.3, (0.0, 0.4, 0.0))
        answer = client.predict(np.array([[0.35, 0.39, 0.2], [0.3, 0.4, 0.5]], np.float32), k=3)["probabilities"]
        np.testing.assert_array_equal(answer, np.array([[0.35, 0, 0], [0.3, 0.4, 0.5]], np.float32))
        result = client.check(version.path)
    assert result.passed, (result.identity.first_fault, result.backbone.first_fault, result.head.first_fault)
    assert result.not_asked == ()


def test_server_batching_takes_one_min_score_for_each_example_and_warms_up_with_one(tmp_path):
    from signatures import Batching

    samples, _ = labeled(20)
    options = ExportOptions(thresholds=0.25, server_batching=Batching(max_batch_size=8, batch_timeout_micros=0))
    version = export(echo(), tmp_path, k=2, options=options, samples=samples)
    for key, inputs in read_requests(version.path / "assets.extra" / "tf_serving_warmup_requests"):
        limits = {"k", "min_score"} & set(inputs)
        assert limits == ({"k", "min_score"} if key in ("serving_default", "top_k") else set())
    config = tmp_path / "deploy" / "batching.config"
    settings = Settings(
        model_name="echo",
        model_base_path=str(tmp_path / "echo"),
        port=0,
        enable_batching=True,
        batching_parameters_file=str(config),
    )
    scores = np.array([[0.35, 0.39, 0.2], [0.3, 0.4, 0.5]], np.float32)
    with ModelServer(settings) as server, serving_client(server) as client:
        answer = client.predict(scores, k=[3, 1], min_score=[0.36, 0.0])["probabilities"]
        np.testing.assert_array_equal(answer, np.array([[0, 0.39, 0], [0, 0, 0.5]], np.float32))
        result = client.check(version.path)
    assert result.passed, (result.identity.first_fault, result.backbone.first_fault, result.head.first_fault)
    assert result.batching


def test_batching_in_the_graph_with_thresholds_is_validated_and_checked(tmp_path):
    from signatures import Batching

    samples, _ = labeled(20)
    options = ExportOptions(thresholds={"a": 0.5, "c": 0.1}, batching=Batching(max_batch_size=8))
    version = export(echo(), tmp_path, k=2, options=options, samples=samples)
    settings = Settings(model_name="echo", model_base_path=str(tmp_path / "echo"), port=0)
    with ModelServer(settings) as server, serving_client(server) as client:
        result = client.check(version.path)
    assert result.passed, (result.identity.first_fault, result.backbone.first_fault, result.head.first_fault)


def test_without_the_options_there_are_no_thresholds_and_no_dense_signature(tmp_path):
    version = export(echo(), tmp_path, k=2, samples=labeled(20)[0], options=ExportOptions(thresholds={"a": 0.0}))
    assert (version.limits.min_score, version.limits.thresholds, version.threshold_fit) == (0.0, (), None)
    assert "dense" not in [signature.key for signature in version.signatures]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"min_score": 1.5}, "min_score is 1.5; use a number from 0 to 1"),
        ({"min_score": float("nan")}, "min_score is nan; use a number from 0 to 1"),
        ({"thresholds": {"a": 50}}, "The threshold of a is 50; use a number from 0 to 1"),
        ({"thresholds": {"a": "0.5"}}, "The threshold of a is '0.5'; use a number from 0 to 1"),
        ({"thresholds": True}, "The threshold of all labels is True; use a number from 0 to 1"),
        ({"thresholds": 0.5, "fit_thresholds": "f1"}, "pass --thresholds or --fit-thresholds, not both"),
        ({"thresholds": {"x": 0.5}}, "A threshold is given for the label 'x', and the model has a, b, c"),
        ({"fit_thresholds": "f1"}, "--fit-thresholds needs labeled samples, and there are none"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence_before_any_work(options, words, tmp_path):
    with pytest.raises(ExportError, match=words):
        export(echo(), tmp_path, k=2, options=ExportOptions(**options), samples=Samples(labeled(20)[0].inputs))
    assert list(tmp_path.iterdir()) == []


def test_without_scikit_learn_a_fit_says_what_to_install(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else found(name))
    with pytest.raises(ExportError, match=r"--fit-thresholds needs scikit-learn: pip install scikit-learn"):
        export(echo(), tmp_path, options=ExportOptions(fit_thresholds="f1"), samples=labeled(20)[0])


def test_labels_that_occur_twice_share_a_threshold():
    assert by_label({"x": 0.5}, ["x", "y", "x"]) == (0.5, 0.0, 0.5)
    assert by_label(0.3, ["x", "y"]) == (0.3, 0.3)
    assert by_label(0, ["x", "y"]) == by_label(None, ["x"]) == ()


@pytest.mark.parametrize("content", ["[0.5]", "true", '"0.5"', "{", "null", '{"a": [1]}', '{"a": 7}', "NaN"])
def test_a_file_that_holds_something_else_is_refused(content, tmp_path):
    file = tmp_path / "thresholds.json"
    file.write_text(content)
    with pytest.raises(ExportError, match="threshold"):
        read_thresholds(file)


def run(*arguments):
    """The command in this process, where TensorFlow is loaded already."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_command_takes_them_from_options_a_file_and_a_config(tmp_path):
    (tmp_path / "thresholds.json").write_text('{"0": 0.5, "7": 0.25}')
    config = tmp_path / "export.toml"
    config.write_text(f'thresholds = "{tmp_path / "thresholds.json"}"\nmin-score = 0.125\n')
    done = run("--config", config, "--output", tmp_path, "--json", "--dry-run", "--signature", "top_k")
    assert done.exit_code == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["min_score"] == 0.125
    assert summary["thresholds"] == [0.5, 0, 0, 0, 0, 0, 0, 0.25]
    assert summary["signatures"] == ["serving_default", "top_k", "dense", "encoded_images_dense", "export_info"]


def test_the_command_says_how_many_positives_each_threshold_rests_on(tmp_path):
    # The 32 images of the preset hold each digit four to seven times: too few.
    done = run("--fit-thresholds", "f1", "--output", tmp_path, "--dry-run")
    assert done.exit_code == 0, done.stderr
    assert "Thresholds for f1, fitted on 32 labeled samples" in done.stdout
    assert "positives" in done.stdout
    assert "These labels have no threshold: 0 (" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--min-score", "2"),
        ("--min-score", "nan"),
        ("--fit-thresholds", "best"),
        ("--thresholds", "missing.json"),
    ],
)
def test_wrong_usage_has_status_2(arguments, tmp_path):
    done = run(*arguments, "--output", tmp_path)
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_without_the_options_every_recorded_request_is_answered_to_the_bit_as_by_k_alone(
    digits_version, tmp_path, monkeypatch
):
    # The head as it was before there were bounds.
    monkeypatch.setattr("signatures.compose.Identity.completed", lambda self, limits: Limits(limits.k))
    k_alone = export(load_classifier("digits"), tmp_path, k=2, validations={})
    recorded = [
        request
        for name in ("golden_predictions", "tf_serving_warmup_requests")
        for request in read_requests(digits_version / "assets.extra" / name)
    ]
    assert len(recorded) > 32
    with LoadedVersion(digits_version) as now, LoadedVersion(k_alone.path) as before:
        for key, inputs in recorded:
            if key == "export_info":
                continue
            left_out = {name: array for name, array in inputs.items() if name not in ("k", "min_score")}
            for asked in (inputs, left_out):
                answers = now.call(key, asked), before.call(key, asked)
                for one, other in zip(*(answer.values() for answer in answers), strict=True):
                    assert one.shape == other.shape
                    assert one.tolist() == other.tolist()
                    assert one.dtype == object or one.tobytes() == other.tobytes()
