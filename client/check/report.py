"""A check's verdict as one HTML page: no scripts, nothing from elsewhere, readable on a phone and in the dark."""

import base64
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape

from client.check.results import CheckResult, SampleEvidence
from signatures.contract.kept import ranking

# If there are many labels, only the best and the kept ones are drawn.
_SHOWN = 10

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2129; --quiet: #565d6b; --paper: #ffffff; --card: #f3f5f8; --line: #d5dae2;
  --good: #136c3a; --bad: #b3261e; --expected: #8a93a3; --served: #1c62b9; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8eaee; --quiet: #aab2c0; --paper: #14171c; --card: #1e232b;
  --line: #39414d; --good: #6fd39b; --bad: #ff9c94; --expected: #8b95a6; --served: #6aa9f5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0.5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 0.5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 0.3rem; } h4 { margin: 0 0 0.5rem; }
.good { color: var(--good); } .bad { color: var(--bad); } td .good, td .bad { white-space: nowrap; }
.quiet { color: var(--quiet); }
p, .faults { overflow-wrap: anywhere; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.samples { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr));
  list-style: none; padding: 0; }
caption { text-align: left; }
.samples > li { background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem; padding: 0.8rem; }
.samples img { width: 6rem; height: 6rem; object-fit: contain; image-rendering: pixelated; background: #000; }
.samples td, .samples th { padding: 0.15rem 0.3rem; border: 0; font-size: 0.9rem; overflow-wrap: anywhere; }
.samples thead th, .samples .number { overflow-wrap: normal; }
.samples tbody th { min-width: 5.5rem; } .samples td.bar { width: 40%; vertical-align: middle; }
.bar span { display: block; height: 0.35rem; margin: 2px 0; min-width: 1px; }
.expected { background: var(--expected); } .served { background: var(--served); }
.kept { font-weight: 700; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--ink); font-size: 12px; }
svg rect { fill: var(--served); } svg line { stroke: var(--bad); stroke-width: 2; } svg path { stroke: var(--line); }
"""


def report(results: Sequence[CheckResult], when: datetime) -> str:
    """Return the page for one server, or for several replicas."""
    passed = all(result.passed for result in results)
    title = f"Check of {results[0].model}: {'passed' if passed else 'failed'}"
    return page(title, when, [server_section(number, result) for number, result in enumerate(results)])


def page(title: str, when: datetime, sections: Iterable[str]) -> str:
    """Return a whole page of sections, which are HTML already."""
    return "".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; ',
            "style-src 'unsafe-inline'\">",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>",
            f'<p class="quiet">{when:%Y-%m-%d %H:%M} UTC</p>',
            *sections,
            "</main></body></html>\n",
        )
    )


def server_section(number: int, result: CheckResult, samples: bool = True) -> str:
    """Return the part of a page that shows one server, with the samples that it was sent or without."""
    questions = result.questions
    faults = [
        f'<li><strong class="bad">{name}</strong>: {escape(question.fault_summary)}</li>'
        for name, question in questions.items()
        if question.first_fault
    ]
    signatures = [
        (
            escape(one.signature),
            passed_cell(one.passed),
            one.answers,
            one.near_ties,
            f"{one.largest_difference:.2g}",
            one.calls,
            f"{one.median_ms:.2f}",
            f"{one.longest_ms:.2f}",
        )
        for one in result.signatures
    ]
    return "".join(
        (
            f'<section aria-labelledby="server-{number}"><h2 id="server-{number}">',
            f"{escape(result.model)}, version {result.version} at {escape(result.address)}</h2>",
            f'<p class="{"good" if result.passed else "bad"}"><strong>{escape(result.verdict)}</strong></p>',
            table(
                "Questions",
                result.address,
                ("question", "verdict", "records", "answers", "near ties", "largest difference"),
                [
                    (
                        name,
                        passed_cell(question.passed),
                        question.records,
                        question.answers,
                        question.near_ties,
                        f"{question.largest_difference:.2g}",
                    )
                    for name, question in questions.items()
                ],
            ),
            f'<h3>What is wrong</h3><ul class="faults">{"".join(faults)}</ul>' if faults else "",
            *(f"<p>{escape(note)}</p>" for note in result.notes),
            table(
                "Signatures",
                result.address,
                (
                    "signature",
                    "verdict",
                    "answers",
                    "near ties",
                    "largest difference",
                    "calls",
                    "median ms",
                    "longest ms",
                ),
                signatures,
            ),
            _histogram(result),
            f'<h3>Samples</h3><ul class="samples">{"".join(_samples(result))}</ul>' if samples else "",
            "</section>",
        )
    )


def _histogram(result: CheckResult) -> str:
    """Return the distribution of the backbone's differences, by power of ten."""
    if not result.differences:
        return ""
    decades = [max(-9, min(0, math.floor(math.log10(value)))) if value > 0 else -9 for value in result.differences]
    counts = [decades.count(decade) for decade in range(-9, 1)]
    highest = max(counts)
    bars = []
    for place, count in enumerate(counts):
        height = round(100 * count / highest, 1)
        x = 10 + place * 44
        bars.append(f'<rect x="{x}" y="{120 - height}" width="38" height="{height}"></rect>')
        if count:
            bars.append(f'<text x="{x + 19}" y="{115 - height}" text-anchor="middle">{count}</text>')
        name = "less" if place == 0 else f"1e{place - 9}"
        bars.append(f'<text x="{x + 19}" y="138" text-anchor="middle">{name}</text>')
    tolerance = result.tolerances.backbone
    told = (
        f"Largest difference of each of {len(result.differences)} rows from the scores expected, by the power "
        f"of ten that it reaches. Allowed: {tolerance.atol:g} + {tolerance.rtol:g} of the score."
    )
    summary = ", ".join(f"{count} at 1e{place - 9}" for place, count in enumerate(counts) if count)
    return (
        f"<h3>Differences</h3><p>{told}</p>"
        f'<svg viewBox="0 0 460 145" width="460" height="145" role="img" aria-label="Distribution: {summary}">'
        f'<path d="M5 120H455"></path>{"".join(bars)}</svg>'
    )


def _samples(result: CheckResult) -> Iterable[str]:
    for number, evidence in enumerate(result.evidence):
        yield f"<li><h4>Record {number}</h4>{_image(number, evidence)}{_bars(number, evidence, result)}</li>"


def _image(number: int, evidence: SampleEvidence) -> str:
    file = evidence.sample.file
    if file is None:
        shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in evidence.sample.inputs.items())
        return f'<p class="quiet">{escape(shapes)}</p>'
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    return f'<img alt="Image of record {number}" src="data:image/{kind};base64,{base64.b64encode(file).decode()}">'


def _bars(number: int, evidence: SampleEvidence, result: CheckResult) -> str:
    expected, served = evidence.sample.dense, evidence.served
    if served is None:
        return '<p class="bad">No scores came.</p>'
    shown = list(dict.fromkeys([*evidence.kept, *ranking(served)[:_SHOWN].tolist()]))
    if len(served) <= _SHOWN:
        shown = list(range(len(served)))
    rows = []
    for index in shown:
        kept = index in evidence.kept
        label = escape(result.labels[index] if index < len(result.labels) else str(index))
        wanted = "" if expected is None or index >= len(expected) else _bar("expected", float(expected[index]))
        number_expected = "" if not wanted or expected is None else f"{expected[index]:.4f}"
        rows.append(
            f'<tr{" class=kept" if kept else ""}><th scope="row">{label}{" (kept)" if kept else ""}</th>'
            f'<td class="bar">{wanted}{_bar("served", float(served[index]))}</td>'
            f'<td class="number">{number_expected}</td><td class="number">{served[index]:.4f}</td></tr>'
        )
    left_out = f'<p class="quiet">{len(served) - len(shown)} more labels</p>' if len(shown) < len(served) else ""
    return (
        f'<table><caption class="quiet">Scores of record {number}, k left out</caption>'
        '<thead><tr><th scope="col">label</th><th scope="col">bars</th><th scope="col" class="number">expected</th>'
        f'<th scope="col" class="number">served</th></tr></thead><tbody>{"".join(rows)}</tbody></table>{left_out}'
    )


def _bar(kind: str, score: float) -> str:
    width = 100 * min(max(score, 0.0), 1.0) if math.isfinite(score) else 0
    return f'<span class="{kind}" style="width:{width:.1f}%"></span>'


def table(
    caption: str, address: str, names: Sequence[str], rows: Sequence[Sequence[object]], numbers: bool = True
) -> str:
    """Return a table whose first column holds row headers, and the third and later ones numbers.

    Cells that are not numbers are HTML already.
    """
    marks = [' class="number"' if numbers and place > 1 else "" for place in range(len(names))]
    head = "".join(f'<th scope="col"{mark}>{name}</th>' for name, mark in zip(names, marks, strict=True))
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{mark}>{cell}</td>" for cell, mark in list(zip(row, marks, strict=True))[1:])
        + "</tr>"
        for row in rows
    )
    return (
        f'<h3>{caption}</h3><div class="wide" tabindex="0" role="region" aria-label="{caption}, {escape(address)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def passed_cell(passed: bool | None) -> str:
    """Return a verdict as HTML."""
    if passed is None:
        return "not asked"
    return '<span class="good">✓ passed</span>' if passed else '<span class="bad">✗ failed</span>'
