"""Line charts as SVG inside a page, without a library."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _RIGHT = 640, 260, 70, 16, 44, 20
# Lines differ in their dashes, for readers who cannot tell colors apart.
_DASHES = {"Solid": "none", "dashed": "6 4"}
# Fewer points do not show a curve.
_FEWEST = 3


@dataclass(frozen=True)
class Line:
    """A line of a chart: its name, and its values by their number on the horizontal axis."""

    name: str
    values: dict[int, float]


@dataclass(frozen=True)
class _Scale:
    """Converts values to heights on the page."""

    low: float
    high: float
    logarithmic: bool

    def y(self, value: float) -> float:
        """Return the height of a value."""
        low, high, at = (
            map(math.log10, (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        )
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (at - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """The values to label on the vertical axis."""
        if not self.logarithmic:
            return [self.low, self.high / 2, self.high]
        return [10.0**power for power in range(round(math.log10(self.low)), round(math.log10(self.high)) + 1)]


def chart(
    title: str,
    across: str,
    up: str,
    lines: Sequence[Line],
    *,
    bound: float | None = None,
    logarithmic: bool = False,
) -> str:
    """Return a chart, or "" if no line has enough points.

    Args:
        title: its heading.
        across: the label of the horizontal axis, whose numbers are evenly spaced.
        up: the unit of the values.
        lines: up to two lines.
        bound: a value to mark with a horizontal line.
        logarithmic: whether the values, all above 0, are on a logarithmic scale.
    """
    lines = [line for line in lines if len(line.values) >= _FEWEST]
    if not lines:
        return ""
    values = [value for line in lines for value in line.values.values()] + ([] if bound is None else [bound])
    scale = _Scale(0.0, max(values) or 1.0, logarithmic=False)
    if logarithmic:
        low = math.floor(math.log10(min(values)))
        scale = _Scale(10.0**low, 10.0 ** max(low + 1, math.ceil(math.log10(max(values)))), logarithmic=True)
    counts = sorted({count for line in lines for count in line.values})
    step = (_WIDTH - _LEFT - _RIGHT) / (len(counts) - 1)
    x = {count: _LEFT + number * step for number, count in enumerate(counts)}
    drawn = _axes(scale, x, across)
    for line, dashes in zip(lines, _DASHES.values(), strict=False):
        drawn += _drawn(line, x, scale, dashes)
    if bound is not None:
        y = scale.y(bound)
        drawn.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"></line>')
    legend = ", ".join(f"{kind}: {line.name}" for kind, line in zip(_DASHES, lines, strict=False))
    return (
        f"<h3>{escape(title)}</h3><p>{escape(f'{up.capitalize()}. {legend}.')}</p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(_in_words(title, across, up, lines))}">{"".join(drawn)}</svg>'
    )


def _axes(scale: _Scale, x: dict[int, float], across: str) -> list[str]:
    foot = _HEIGHT - _BOTTOM
    drawn = []
    for tick in scale.ticks:
        y = scale.y(tick)
        drawn.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"></path>')
        drawn.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(tick)}</text>')
    for count, place in x.items():
        drawn.append(f'<text x="{place:.1f}" y="{foot + 18}" text-anchor="middle">{count}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*drawn, f'<text x="{middle:.0f}" y="{foot + 38}" text-anchor="middle">{escape(across)}</text>']


def _drawn(line: Line, x: dict[int, float], scale: _Scale, dashes: str) -> list[str]:
    points = [(x[count], scale.y(value)) for count, value in sorted(line.values.items())]
    corners = " ".join(f"{across:.1f},{y:.1f}" for across, y in points)
    style = f"fill:none;stroke:var(--served);stroke-width:2;stroke-dasharray:{dashes}"
    dots = [
        f'<circle cx="{across:.1f}" cy="{y:.1f}" r="3" style="fill:var(--served)"></circle>' for across, y in points
    ]
    return [f'<polyline points="{corners}" style="{style}"></polyline>', *dots]


def _in_words(title: str, across: str, up: str, lines: Sequence[Line]) -> str:
    values = (
        f"{line.name}: " + ", ".join(f"{_number(value)} at {count}" for count, value in sorted(line.values.items()))
        for line in lines
    )
    return f"{title}, {up} by {across}. {'; '.join(values)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
