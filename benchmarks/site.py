"""The page of the results, made from their JSON alone."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks.reading import Reading, found, number

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
ORDER = ("head", "served", "export", "check", "client", "batching", "growth")

# Between these lines the README has the rows below.
_BEGIN, _END = "<!-- benchmarks: written by `python -m benchmarks page` -->\n", "<!-- end of benchmarks -->\n"
_CLAIMS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("MobileNetV2 with the head over without, batch 32", "head", {"case": "MobileNetV2, batch 32"}),
    ("20,000 labels with the head over without, batch 32", "head", {"case": "20,000 labels, batch 32"}),
    (
        "the head over sorting each row, 32 x 10,000",
        "head",
        {"case": "N 10,000, batch 32, k 5", "against": "sort and threshold"},
    ),
    (
        "the compact answer over the dense one, 20,000 labels, batch 32",
        "served",
        {"case": "labels_20000, batch 32", "what": "compact", "measure": "time"},
    ),
    (
        "exporting MobileNetV2, validated, over `keras.Model.export`",
        "export",
        {"case": "2 million parameters", "against": "keras.Model.export", "measure": "wall time"},
    ),
    ("a call of the client over a bare gRPC stub", "client", {"case": "call", "against": "a bare stub"}),
    (
        "importing the client over importing tensorflow-serving-api",
        "client",
        {"case": "import", "against": "tensorflow-serving-api", "measure": "wall time"},
    ),
    (
        "requests a second with 64 callers, batching in the graph over no batching",
        "batching",
        {"case": "64 callers at once", "against": "no batching", "measure": "throughput"},
    ),
)

_INTRODUCTION = """\
# Benchmarks

<!-- Written by `python -m benchmarks page` from docs/benchmarks/results.json: do not edit. -->

`make bench` measures everything on this page, in {minutes} minutes when it was last run, and writes it. Each row's
command measures that row, with the other rows of its case, and writes nothing.

What is compared takes turns, and who is first changes from round to round. A *ratio* is the median of the ratios within
a round. Its *spread* is where four of five further rounds are expected: between the 10% and the 90% quantiles, or, with
fewer than ten rounds, by Student's t. *Medians* are those of both sides: they say what was compared, and are worth
nothing on another machine.

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
    lines = ["", "| what | ratio | spread | command |", "|---|---|---|---|"]
    for words, part, wanted in _CLAIMS:
        with suppress(LookupError):
            row = found(results["parts"][part]["rows"], **wanted)
            spread = f"{number(row['low'])} to {number(row['high'])}"
            lines.append(f"| {words} | {number(row['ratio'])} | {spread} | `{row['command']}` |")
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
    lines += [*_table(measured["rows"]), ""]
    lines += [line for note in measured["notes"] for line in (note, "")]
    lines += [f"This part took {measured['minutes']:g} minutes: `python -m benchmarks {name}`.", ""]
    return "\n".join(lines)


def _table(rows: Reading) -> Iterator[str]:
    yield "| compared | measured | ratio | spread | medians | rounds | command |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        # Sizes do not vary, and are measured once.
        spread = f"{number(row['low'])} to {number(row['high'])}" if row["pairs"] > 1 else ""
        yield (
            f"| {row['case']}: {row['what']} / {row['against']} | {row['measure']} | **{number(row['ratio'])}** "
            f"| {spread} | {number(row['ours'])} / {number(row['other'])} {row['unit']} | {row['pairs']} "
            f"| `{row['command']}` |"
        )
