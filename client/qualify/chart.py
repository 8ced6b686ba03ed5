"""Line charts as SVG inside a page, without a library."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 640, 260, 70, 16, 44, 20
# Lines differ by their dashes, too, for those who cannot tell colors apart.
_DASHES = ("none", "6 4", "2 3")


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, and its values by the label of their place; labels without a value are left out."""

    name: str
    values: dict[int, float]


def chart(title: str, across: str, up: str, lines: Sequence[Line], bound: float | None = None) -> str:
    """Return a chart.

    Args:
        title: its heading.
        across: what the labels count.
        up: the unit of the values.
        lines: what to draw; their labels are placed evenly, in rising order.
        bound: a value to mark with a line across.
    """
    lines = [line for line in lines if line.values]
    if not lines:
        return ""
    labels = sorted({label for line in lines for label in line.values})
    highest = max(max(line.values.values()) for line in lines) or 1.0
    if bound is not None:
        highest = max(highest, bound)
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels) - 1)
    across_of = {label: _LEFT + number * step for number, label in enumerate(labels)}
    drawn = [*_axes(highest, across_of, across)]
    for number, line in enumerate(lines):
        drawn += _line(line, across_of, highest, _DASHES[number % len(_DASHES)])
    if bound is not None:
        y = _y(bound, highest)
        drawn.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"></line>')
    return (
        f"<h3>{escape(title)}</h3><p>{escape(_legend(lines, up, bound))}</p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(_told(title, across, up, lines))}">{"".join(drawn)}</svg>'
    )


def _axes(highest: float, across_of: dict[int, float], across: str) -> list[str]:
    foot = _HEIGHT - _BOTTOM
    drawn = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * highest, highest)
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"></path>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(share * highest)}</text>')
    for label, x in across_of.items():
        drawn.append(f'<text x="{x:.1f}" y="{foot + 18}" text-anchor="middle">{label}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*drawn, f'<text x="{middle:.0f}" y="{foot + 38}" text-anchor="middle">{escape(across)}</text>']


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _line(line: Line, across_of: dict[int, float], highest: float, dashes: str) -> list[str]:
    places = [(across_of[label], _y(value, highest)) for label, value in sorted(line.values.items())]
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    style = f"fill:none;stroke:var(--served);stroke-width:2;stroke-dasharray:{dashes}"
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" style="fill:var(--served)"></circle>' for x, y in places]
    return [f'<polyline points="{corners}" style="{style}"></polyline>', *dots]


def _y(value: float, highest: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / highest)


def _legend(lines: Sequence[Line], up: str, bound: float | None) -> str:
    kinds = ("Solid", "dashed", "dotted")
    named = ", ".join(f"{kinds[number % len(kinds)]}: {line.name}" for number, line in enumerate(lines))
    marked = "" if bound is None else f" The red line is at {bound:g}."
    return f"{up.capitalize()}. {named}.{marked}"


def _told(title: str, across: str, up: str, lines: Sequence[Line]) -> str:
    said = (
        f"{line.name}: " + ", ".join(f"{_number(value)} at {label}" for label, value in sorted(line.values.items()))
        for line in lines
    )
    return f"{title}, {up} by {across}. {'; '.join(said)}"
