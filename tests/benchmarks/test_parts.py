"""Each part of the benchmarks, at its smallest."""

import json
import re

import pytest
from click.testing import CliRunner

pytest.importorskip("tensorflow", reason="measures exports")

from benchmarks import results
from benchmarks.__main__ import main


def measured(part, case, *options):
    """The rows of one case, each measured in one round."""
    done = CliRunner().invoke(main, [part, "--case", case, "--pairs", "1", "--seconds", "0.2", "--json", *options])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert {row["case"] for row in rows} == {case}
    return {(row["what"], row["against"], row["measure"]): row for row in rows}


def test_head_compares_with_what_people_would_write():
    rows = measured("head", "N 8, batch 32, k 5")
    others = ("sort and threshold", "top_k and one_hot", "double argsort", "copy")
    assert set(rows) == {("sparsify_top_k", other, "time") for other in others}


@pytest.mark.parametrize("case", ["thresholds, N 8, batch 32, k 5", "XLA, N 8, batch 32, k 5"])
def test_head_has_rows_with_thresholds_and_xla(case):
    assert all(row["ours"] > 0 < row["other"] for row in measured("head", case).values())


def test_served_compares_both_answers_with_the_dense_one():
    rows = measured("served", "digits, batch 1")
    assert {key[:2] for key in rows} == {("sparsified", "dense"), ("compact", "dense")}
    assert rows["compact", "dense", "size of the answer"]["ours"] > 50


def test_check_compares_with_one_dense_answer():
    row = measured("check", "8 labels")["check", "one dense answer", "time"]
    assert row["ratio"] > 1


def test_client_compares_sizes_with_the_serving_api():
    row = measured("client", "installed size")["sparsehead", "tensorflow-serving-api", "size"]
    assert row["ours"] < 300 < 1000 < row["other"]


def test_client_compares_encoding_in_processes_of_their_own():
    rows = measured("client", "encode")
    assert {("sparsehead", "tensorflow-serving-api", "time"), ("sparsehead", "one copy", "time")} <= set(rows)


def test_growth_compares_loading_with_the_export_of_keras():
    rows = measured("growth", "8 labels")
    assert set(rows) == {("export-model", "keras.Model.export", name) for name in ("time to load", "memory")}
    assert all(row["ours"] > 0 < row["other"] for row in rows.values())


@pytest.mark.slow
def test_export_compares_three_exports():
    rows = measured("export", "50 thousand parameters")
    assert {key[1] for key in rows} == {"keras.Model.export", "tf.saved_model.save"}


@pytest.mark.slow
def test_batching_in_the_graph_loses_no_good_request():
    rows = measured("batching", "2 bad clients")
    shares = {what: row["ratio"] for (what, _, _), row in rows.items()}
    assert shares["in the graph"] == shares["no batching"] == 1 > shares["in the server"]


def test_an_unknown_case_lists_those_that_there_are():
    done = CliRunner().invoke(main, ["head", "--case", "N 9"])
    assert done.exit_code == 2
    assert "head has no case 'N 9', but it has: N 8, batch 32, k 5;" in done.output


def test_a_part_that_fails_is_a_sentence_and_the_others_are_written(tmp_path, monkeypatch):
    def ended(command, **_):
        part = command[3]
        output = {"returncode": 1, "stdout": "", "stderr": "Traceback\nError: the part head failed: no memory.\n"}
        if part == "check":
            output = {"returncode": 0, "stdout": '{"notes": [], "rows": []}', "stderr": ""}
        return type("Done", (), output)

    described = {"machine": {}, "versions": {}, "date": "2026-01-01", "commit": "0"}
    monkeypatch.setattr(results, "describe", lambda: described)
    monkeypatch.setattr(results.subprocess, "run", ended)
    file = tmp_path / "results.json"
    assert results.measure_parts(["head", "check"], 1, 0.0, file) == ["head"]
    parts = json.loads(file.read_text())["parts"]
    assert parts["head"]["failed"] == "The part head failed: no memory."
    assert "failed" not in parts["check"]
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_a_failure_inside_a_part_is_one_sentence():
    done = CliRunner().invoke(main, ["served", "--address", "localhost:1", "--case", "digits, batch 1"])
    assert done.exit_code == 1
    assert re.fullmatch(r"Error: the part served failed: .*localhost:1.*\n", done.stderr)
