"""docs/benchmarks.md says what docs/benchmarks/results.json holds."""

import json
import shutil

import pytest

pytest.importorskip("matplotlib", reason="draws plots")

from benchmarks.results import FILE
from benchmarks.site import DOCS, ORDER, README, page, with_claims, write_site

RESULTS = json.loads(FILE.read_text("utf-8"))


def test_the_committed_page_is_what_the_committed_results_make():
    assert (DOCS / "benchmarks.md").read_text("utf-8") == page(RESULTS), "run: python -m benchmarks page"


def test_the_rows_of_the_readme_are_those_of_the_results():
    text = README.read_text("utf-8")
    assert text == with_claims(text, RESULTS), "run: python -m benchmarks page"
    assert text.count("`python -m benchmarks ") >= 8


def test_every_part_was_measured_and_has_its_plot():
    assert set(RESULTS["parts"]) == set(ORDER)
    for part, measured in RESULTS["parts"].items():
        assert measured["rows"], measured.get("failed")
        assert (DOCS / "benchmarks" / f"{part}.png").exists()


def test_every_row_is_whole_and_has_its_command():
    for part, measured in RESULTS["parts"].items():
        for row in measured["rows"]:
            assert row["low"] <= row["ratio"] <= row["high"]
            assert row["pairs"] >= 1
            assert row["command"] == f'python -m benchmarks {part} --case "{row["case"]}"'


def test_the_results_do_not_tell_whose_machine_it_was():
    assert set(RESULTS) == {"machine", "versions", "date", "commit", "parts"}
    assert set(RESULTS["machine"]) == {"system", "cpu", "cores", "memory_gb", "gpus"}
    # Notes are sentences, and so is all other free text: no path is part of them.
    assert not [note for measured in RESULTS["parts"].values() for note in measured["notes"] if " /" in note]


def test_the_same_results_make_the_same_files(tmp_path):
    written = []
    for docs in (tmp_path / "once", tmp_path / "again"):
        docs.mkdir()
        shutil.copy(README, docs)
        write_site(RESULTS, docs, docs / "README.md")
        written.append({file.relative_to(docs): file.read_bytes() for file in docs.rglob("*.*")})
    assert written[0] == written[1]
    assert len(written[0]) == 2 + len(ORDER)


def test_the_page_names_the_gpus_and_a_part_that_failed():
    machine = {**RESULTS["machine"], "gpus": ["NVIDIA H200"]}
    failed = {**RESULTS["parts"]["head"], "rows": [], "failed": "The part head failed: no memory."}
    text = page({**RESULTS, "machine": machine, "parts": {**RESULTS["parts"], "head": failed}})
    assert "GPU: NVIDIA H200" in text
    assert "**Not measured.** The part head failed: no memory." in text
    assert "## Served cost" in text
