"""Self-contained HTML pages without scripts, readable on a phone and in dark mode."""

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from html import escape
from typing import TypeVar

T = TypeVar("T")

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
_NUMBER = re.compile(r"[-+]?(\d[\d.,e+-]*|inf|nan)")
_VERDICTS = {
    True: '<span class="good">✓ passed</span>',
    False: '<span class="bad">✗ failed</span>',
    None: "not asked",
}


def page(title: str, when: datetime, sections: Iterable[str]) -> str:
    """Return a whole page. The sections must be HTML already."""
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


def section(key: str, heading: str, *content: str) -> str:
    """Return a section with its heading. The content must be HTML already."""
    return f'<section aria-labelledby="{key}"><h2 id="{key}">{escape(heading)}</h2>{"".join(content)}</section>'


def table(caption: str, address: str, items: Iterable[T], columns: Mapping[str, Callable[[T], object]]) -> str:
    """Return a table with a row for each item.

    Args:
        caption: its heading.
        address: the server that it describes, for screen readers.
        items: what the rows show.
        columns: for each header, a function that returns its cells: text, numbers or verdicts. The first column holds
            the row headers.
    """
    cells = [[_cell(of(item)) for of in columns.values()] for item in items]
    marks = [
        ' class="number"' if place > 0 and all(_NUMBER.fullmatch(row[place]) for row in cells) else ""
        for place in range(len(columns))
    ]
    head = "".join(f'<th scope="col"{mark}>{escape(name)}</th>' for name, mark in zip(columns, marks, strict=True))
    rows = (
        f'<th scope="row">{first}</th>'
        + "".join(f"<td{mark}>{cell}</td>" for cell, mark in zip(others, marks[1:], strict=True))
        for first, *others in cells
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return (
        f'<h3>{caption}</h3><div class="wide" tabindex="0" role="region" aria-label="{caption}, {escape(address)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def sentence(text: str, good: bool | None = None) -> str:
    """Return a paragraph. Good and bad news stand out in color."""
    if good is None:
        return f"<p>{escape(text)}</p>"
    return f'<p class="{"good" if good else "bad"}"><strong>{escape(text)}</strong></p>'


def image(file: bytes, name: str) -> str:
    """Return an image, given a JPEG or PNG file."""
    kind = "png" if file.startswith(b"\x89PNG") else "jpeg"
    return f'<img alt="{escape(name)}" src="data:image/{kind};base64,{base64.b64encode(file).decode()}">'


def _cell(value: object) -> str:
    return _VERDICTS[value] if value is None or isinstance(value, bool) else escape(str(value))
