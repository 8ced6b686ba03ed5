"""Phrases that native readers stumble over, which no linter knows. The rest is for codespell and proselint."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("signatures", "exporter", "client", "server", "tests", "docs", "examples", "benchmarks", ".github")
FILES = [
    *sorted(ROOT.glob("*.md")),
    *(file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*")) if file.suffix in (".md", ".py")),
]
# This file, and one that names a recorded request by one of the phrases.
QUOTING = {Path("tests/house/test_prose.py"), Path("tests/server/rest/test_rest_replay.py")}

BETTER = {
    r"\b[Ss]hall\b": "say what it does: will, must, or the present tense",
    r"(?<!there )\b(is|are|was|were) none\b": "say that it is not one",
    r"\bof one's own\b": "say your own, or its own",
    r"\b[Ww]hat is asked\b": "name what is asked for: the request, the question",
    r"\b(a|an|and|as|at|for|in|is|it|of|on|or|the|to|with)\s+(#\s+)?\1\b": "a word is there twice",
}


def stumbles(text):
    """Return the line, the phrase and the advice for each phrase that is found."""
    for phrase, advice in BETTER.items():
        for found in re.finditer(phrase, text):
            line = text.count("\n", 0, found.start()) + 1
            yield line, found.group(), advice


def test_prose_is_plain():
    found = [
        f"{file}:{line}: {phrase!r}: {advice}"
        for file in (path.relative_to(ROOT) for path in FILES)
        if file not in QUOTING
        for line, phrase, advice in stumbles((ROOT / file).read_text("utf-8"))
    ]
    assert found == [], "\n".join(found)


@pytest.mark.parametrize(
    "text",
    ["It shall stop.", "a file that is none", "models of one's own", "What is asked", "so that the\n    # the server"],
)
def test_each_phrase_is_found_with_its_line(text):
    assert [line for line, *_ in stumbles(f"\n{text}")] == [2]


@pytest.mark.parametrize("text", ["labels where there are none", "return None", "the thesis is it", "in inputs"])
def test_what_reads_well_is_left_alone(text):
    assert list(stumbles(text)) == []
