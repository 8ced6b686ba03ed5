"""A comparison as a section of a page."""

from html import escape

from client.comparison.results import ChangedSample, Comparison
from client.comparison.rows import HEADERS, rows, title
from client.page import image, section, sentence, table


def comparison_section(found: Comparison, inputs: bool) -> str:
    """Return the section, with the samples whose kept labels changed if `inputs` may be shown."""
    columns = {name: lambda row, place=place: row.cells[place] for place, name in enumerate(HEADERS)}
    changed = "".join(map(_sample, found.changed)) if inputs else ""
    return section(
        "compared",
        title(found),
        *(sentence(text, good=False) for text in found.stopped.values()),
        table(
            "Compared with what is served",
            found.address,
            rows(found),
            {**columns, "verdict": lambda row: "" if row.passed is None else row.passed},
        ),
        *map(sentence, found.notes),
        f'<h3>Samples with other kept labels</h3><ul class="samples">{changed}</ul>' if changed else "",
    )


def _sample(changed: ChangedSample) -> str:
    sample = changed.sample
    shown = "" if sample.file is None else image(sample.file, sample.title)
    labels = (("before", changed.before), ("after", changed.after))
    kept = "".join(f"<p>{when}: {escape(', '.join(each)) or 'no label'}</p>" for when, each in labels)
    return f"<li><h4>{escape(sample.title or sample.source)}</h4>{shown}{kept}</li>"
