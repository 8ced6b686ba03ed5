"""The page of the results, made from their JSON alone."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.reading import Reading, cells, found

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
ORDER = ("head", "served", "export", "check", "client", "batching", "growth")

# Between these lines the README has the rows below.
_BEGIN, _END = "<!-- benchmarks: written by `python -m benchmarks page` -->\n", "<!-- end of benchmarks -->\n"
_CLAIMS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("MobileNetV2 with the head / without, batch 32", "head", {"case": "MobileNetV2, batch 32"}),
    ("20,000 labels with the head / without, batch 32", "head", {"case": "20,000 labels, batch 32"}),
    (
        "the head / sorting each row, 32 rows of 10,000 scores",
        "head",
        {"case": "N 10,000, batch 32, k 5", "against": "sort and threshold"},
    ),
    (
        "a compact answer / a dense one, 20,000 labels, batch 32",
        "served",
        {"case": "labels_20000, batch 32", "what": "compact", "measure": "time"},
    ),
    (
        "exporting MobileNetV2 with its validation / `keras.Model.export`",
        "export",
        {"case": "2 million parameters", "against": "keras.Model.export", "measure": "wall time"},
    ),
    ("a call by the client / by a bare gRPC stub", "client", {"case": "call", "against": "a bare stub"}),
    (
        "importing the client / importing tensorflow-serving-api",
        "client",
        {"case": "import", "against": "tensorflow-serving-api", "measure": "wall time"},
    ),
    (
        "64 callers: batching in the graph / no batching",
        "batching",
        {"case": "64 callers at once", "against": "no batching", "measure": "throughput"},
    ),
)

_INTRODUCTION = """\
# Benchmarks

<!-- Written by `python -m benchmarks page` from docs/benchmarks/results.json: do not edit. -->

`make bench` measures everything on this page and writes it; the last run took {minutes} minutes. To measure one row,
with the other rows of its case, run the command above its table with the case from its first column; it writes nothing.

The sides of a comparison take turns, and the side that goes first changes from round to round. A *ratio* is the median
of the ratios of all rounds. Its *spread* is where nine of ten further rounds are expected: between the 5% and 95%
quantiles, or, with fewer than 20 rounds, by Student's t. It reaches at least 5% to either side, because two runs
differ by more than the rounds of one. A *share* is compared with nothing: its spread is the smallest and the largest of
all rounds. *Medians* are those of both sides: they show what was compared, and mean nothing on another machine.

Measured on {date} with {cores} cores ({cpu}), {memory} GB of memory, {gpus}; {versions}; commit {commit}.
"""


def write_site(results: Mapping[str, Any], docs: Path = DOCS, readme: Path = README) -> None:
    """Write the page, its plots, and the rows that the README quotes."""
    from benchmarks.plots import plot_part

    (docs / "benchmarks").mkdir(parents=True, exist_ok=True)
    for part, measured in results["parts"].items():
        if measured["rows"]:
            plot_part(part, measured["rows"], docs / "benchmarks" / f"{part}.png")
    (docs / "benchmarks.md").write_text(page(results), "utf-8")
    readme.write_text(with_claims(readme.read_text("utf-8"), results), "utf-8")


def with_claims(text: str, results: Mapping[str, Any]) -> str:
    """Return the README's text with the rows that it quotes."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    lines = ["", "| compared | measured | ratio | spread | command |", "|---|---|---|---|---|"]
    for words, part, wanted in _CLAIMS:
        with suppress(LookupError):
            row = found(results["parts"][part]["rows"], **wanted)
            _, ratio, spread, _ = cells(row)
            lines.append(f"| {words} | {row['measure']} | {ratio} | {spread} | `{row['command']}` |")
    return before + _BEGIN + "\n".join([*lines, "", ""]) + _END + after


def page(results: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    machine, parts = results["machine"], results["parts"]
    introduction = _INTRODUCTION.format(
        minutes=round(sum(part["minutes"] for part in parts.values())),
        date=results["date"],
        cores=machine["cores"],
        cpu=machine["cpu"],
        memory=f"{machine['memory_gb']:.0f}",
        gpus="GPU: " + ", ".join(machine["gpus"]) if machine["gpus"] else "no GPU",
        versions=", ".join(f"{name} {version}" for name, version in results["versions"].items()),
        commit=results["commit"][:10],
    )
    sections = (_section(name, parts[name]) for name in ORDER if name in parts)
    return "\n".join([introduction, *sections])


def _section(name: str, measured: Mapping[str, Any]) -> str:
    part = importlib.import_module(f"benchmarks.parts.{name}")
    lines = [f"## {part.TITLE}", "", part.ABOUT, ""]
    if "failed" in measured:
        return "\n".join([*lines, f"**Not measured.** {measured['failed']}", ""])
    # Without the rows that it is about, there is no sentence.
    with suppress(LookupError):
        lines += [f"**{part.reading(measured['rows'])}**", ""]
    lines += [f"![{part.TITLE}: the ratios or times of the table below](benchmarks/{name}.png)", ""]
    lines += [f'To measure one row: `python -m benchmarks {name} --case "CASE"`', ""]
    lines += [*_table(measured["rows"]), ""]
    lines += [line for note in measured["notes"] for line in (note, "")]
    lines += [f"This part took {measured['minutes']:g} minutes: `python -m benchmarks {name}`.", ""]
    return "\n".join(lines)


def _table(rows: Reading) -> Iterator[str]:
    yield "| case | compared | measured | ratio | spread | medians | rounds |"
    yield "|---|---|---|---|---|---|---|"
    before = ""
    for row in rows:
        case = "" if row["case"] == before else row["case"]
        before = row["case"]
        compared, ratio, spread, medians = cells(row)
        values = (case, compared, row["measure"], f"**{ratio}**", spread, medians, str(row["pairs"]))
        yield f"| {' | '.join(values)} |"
