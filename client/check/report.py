"""A check's verdict as a page."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from html import escape

from client.check.results import CheckResult, QuestionResult, SampleEvidence, SignatureResult
from client.page import image, page, section, sentence, table
from signatures.contract.kept import ranking

# If there are many labels, only the best and the kept ones are drawn.
_SHOWN = 10

_QUESTIONS: Mapping[str, Callable[[tuple[str, QuestionResult]], object]] = {
    "question": lambda one: one[0],
    "verdict": lambda one: one[1].passed,
    "records": lambda one: one[1].records,
    "answers": lambda one: one[1].answers,
    "near ties": lambda one: one[1].near_ties,
    "largest difference": lambda one: f"{one[1].largest_difference:.2g}",
}
_SIGNATURES: Mapping[str, Callable[[SignatureResult], object]] = {
    "signature": lambda one: one.signature,
    "verdict": lambda one: one.passed,
    "answers": lambda one: one.answers,
    "near ties": lambda one: one.near_ties,
    "largest difference": lambda one: f"{one.largest_difference:.2g}",
    "calls": lambda one: one.calls,
    "median ms": lambda one: f"{one.median_ms:.2f}",
    "longest ms": lambda one: f"{one.longest_ms:.2f}",
}


def report(results: Sequence[CheckResult], when: datetime) -> str:
    """Return the page for one server, or for several replicas."""
    passed = all(result.passed for result in results)
    title = f"Check of {results[0].model}: {'passed' if passed else 'failed'}"
    return page(title, when, [server_section(number, result) for number, result in enumerate(results)])


def server_section(number: int, result: CheckResult, samples: bool = True) -> str:
    """Return the part of a page that shows one server, with the samples that it was sent or without."""
    faults = [
        f'<li><strong class="bad">{name}</strong>: {escape(question.fault_summary)}</li>'
        for name, question in result.questions.items()
        if question.first_fault
    ]
    return section(
        f"server-{number}",
        f"{result.model}, version {result.version} at {result.address}",
        sentence(result.verdict, result.passed),
        table("Questions", result.address, result.questions.items(), _QUESTIONS),
        f'<h3>What is wrong</h3><ul class="faults">{"".join(faults)}</ul>' if faults else "",
        *map(sentence, result.notes),
        table("Signatures", result.address, result.signatures, _SIGNATURES),
        _histogram(result),
        f'<h3>Samples</h3><ul class="samples">{"".join(_samples(result))}</ul>' if samples else "",
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
    caption = (
        f"Largest difference of each of {len(result.differences)} rows from the scores expected, by the power "
        f"of ten that it reaches. Allowed: {tolerance.atol:g} + {tolerance.rtol:g} of the score."
    )
    summary = ", ".join(f"{count} at 1e{place - 9}" for place, count in enumerate(counts) if count)
    return (
        f"<h3>Differences</h3><p>{caption}</p>"
        f'<svg viewBox="0 0 460 145" width="460" height="145" role="img" aria-label="Distribution: {summary}">'
        f'<path d="M5 120H455"></path>{"".join(bars)}</svg>'
    )


def _samples(result: CheckResult) -> Iterable[str]:
    for number, evidence in enumerate(result.evidence):
        yield f"<li><h4>Record {number}</h4>{_image(number, evidence)}{_bars(number, evidence, result)}</li>"


def _image(number: int, evidence: SampleEvidence) -> str:
    if evidence.sample.file is not None:
        return image(evidence.sample.file, f"Image of record {number}")
    shapes = ", ".join(f"{name} {list(array.shape[1:])}" for name, array in evidence.sample.inputs.items())
    return f'<p class="quiet">{escape(shapes)}</p>'


def _bars(number: int, evidence: SampleEvidence, result: CheckResult) -> str:
    expected, served = evidence.sample.dense, evidence.served
    if served is None:
        return '<p class="bad">The server returned no scores.</p>'
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
