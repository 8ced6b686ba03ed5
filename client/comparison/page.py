"""A comparison as a part of the check's page."""

import base64
from collections.abc import Iterator
from html import escape

from client.check.report import passed_cell, table
from client.comparison.results import ChangedSample, Comparison
from client.comparison.rows import HEADERS, rows, title


def section(found: Comparison, inputs: bool) -> str:
    """Return the part of a page.

    Args:
        found: the comparison.
        inputs: whether to show what was sent, for the samples for which other labels are kept.
    """
    cells = [(*map(escape, row.cells), "" if row.passed is None else passed_cell(row.passed)) for row in rows(found)]
    sentences = [f'<p class="bad">{escape(sentence)}</p>' for sentence in found.stopped.values()]
    notes = [f"<p>{escape(note)}</p>" for note in found.notes]
    changed = "".join(map(_sample, found.changed)) if inputs else ""
    return "".join(
        (
            f'<section aria-labelledby="compared"><h2 id="compared">{escape(title(found))}</h2>',
            *sentences,
            table("Compared with what is served", found.address, (*HEADERS, "verdict"), cells, numbers=False),
            *notes,
            f'<h3>Samples with other kept labels</h3><ul class="samples">{changed}</ul>' if changed else "",
            "</section>",
        )
    )


def _sample(changed: ChangedSample) -> str:
    return "".join(("<li>", *_shown(changed), "</li>"))


def _shown(changed: ChangedSample) -> Iterator[str]:
    sample = changed.sample
    yield f"<h4>{escape(sample.title or sample.source)}</h4>"
    if sample.file is not None:
        kind = "png" if sample.file.startswith(b"\x89PNG") else "jpeg"
        image = base64.b64encode(sample.file).decode()
        yield f'<img alt="{escape(sample.title)}" src="data:image/{kind};base64,{image}">'
    for what, labels in (("before", changed.before), ("after", changed.after)):
        yield f"<p>{what}: {escape(', '.join(labels)) or 'no label'}</p>"
