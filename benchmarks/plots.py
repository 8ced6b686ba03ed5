"""The plots of the page, from the results alone.

The colors are those of Okabe and Ito, which color-blind readers tell apart.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter

from benchmarks.reading import Reading

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_STYLE = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "svg.hashsalt": "sparsehead",
}
# Numbers as people write them: 0.01 and 1,000, not powers of ten.
_PLAIN = FuncFormatter(lambda value, _: f"{value:,.6g}")
_DECADE, _CLOSE_TICKS = 20, (0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 6, 8)
# Lines to draw: by name, the points.
Lines = Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class _Panel:
    """One pair of axes, and what is drawn there."""

    y_label: str
    x_label: str
    lines: Lines
    scale: str


def plot_part(part: str, rows: Reading, file: Path) -> None:
    """Draw the plot of a part."""
    with plt.rc_context(_STYLE):
        figure = _PLOTS[part](rows)
        # Without the date and the version of matplotlib, the same results make the same file.
        figure.savefig(file, dpi=110, metadata={"Software": None})
        plt.close(figure)


def _head(rows: Reading) -> Any:
    chosen = [row for row in rows if row["at"].get("batch") == 32 and row["at"].get("k") == 5]
    return _drawn([_Panel("time of a call (ms)", "labels N", _lines(chosen, "labels"), "log")], "batch 32, k = 5")


def _check(rows: Reading) -> Any:
    chosen = [row for row in rows if "labels" in row["at"]]
    panel = _Panel("time (ms)", "labels N", _lines(chosen, "labels"), "log")
    return _drawn([panel], "A check, and the least that any comparison takes")


def _batching(rows: Reading) -> Any:
    panels = []
    for measure, x, unit in (
        ("throughput", "callers", "requests/s"),
        ("99th percentile", "callers", "ms"),
        ("good requests answered", "bad clients", "share of all"),
    ):
        chosen = [row for row in rows if row["measure"] == measure]
        x_label = "callers at once" if x == "callers" else "clients that send bad requests"
        panels.append(_Panel(f"{measure} ({unit})", x_label, _lines(chosen, x), "linear"))
    return _drawn(panels, "MobileNetV2 at 64x64, one image per request")


def _growth(rows: Reading) -> Any:
    panels = []
    for measure, unit in (("memory", "MB"), ("time to load", "s")):
        chosen = [row for row in rows if row["measure"] == measure and "labels" in row["at"]]
        panels.append(_Panel(f"{measure} ({unit})", "labels N", _lines(chosen, "labels"), "linear"))
    return _drawn(panels, "Loading one version of a linear model")


def _lines(rows: Reading, x: str) -> Lines:
    """Return both sides of each row as points, each once."""
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in ((row["what"], row["ours"]), (row["against"], row["other"])):
            if value is not None:
                lines.setdefault(name, {})[row["at"][x]] = value
    return {name: sorted(points.items()) for name, points in lines.items()}


def _drawn(panels: Sequence[_Panel], title: str) -> Any:
    size = (7.5 if len(panels) == 1 else 2 + 4 * len(panels), 4.2)
    figure, axes = plt.subplots(1, len(panels), figsize=size, layout="constrained", squeeze=False)
    names = dict.fromkeys(name for panel in panels for name in panel.lines)
    looks = dict(zip(names, zip(COLORS, MARKERS, strict=True), strict=False))
    for axis, panel in zip(axes[0], panels, strict=True):
        for name, points in panel.lines.items():
            color, marker = looks[name]
            axis.plot(*zip(*points, strict=True), color=color, marker=marker, label=name)
        ticks = sorted({x for points in panel.lines.values() for x, _ in points})
        axis.set(xlabel=panel.x_label, ylabel=panel.y_label, xscale="log", yscale=panel.scale)
        axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        if panel.scale == "linear":
            axis.set_ylim(bottom=0)
        else:
            axis.yaxis.set_major_formatter(_PLAIN)
        axis.minorticks_off()
        axis.legend(frameon=False)
    figure.suptitle(title)
    return figure


def _ratios(rows: Reading) -> Any:
    """Draw each ratio as a dot with its spread, and a line where both sides are the same."""
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    names = list(dict.fromkeys(_name(row) for row in rows))
    figure, axis = plt.subplots(figsize=(9, 1.6 + 0.32 * len(names)), layout="constrained")
    for index, (measure, color, marker) in enumerate(zip(measures, COLORS, MARKERS, strict=False)):
        chosen = [row for row in rows if row["measure"] == measure]
        places = [names.index(_name(row)) + 0.16 * (index - (len(measures) - 1) / 2) for row in chosen]
        values = [row["ratio"] for row in chosen]
        below = [row["ratio"] - row["low"] for row in chosen]
        above = [row["high"] - row["ratio"] for row in chosen]
        axis.errorbar(values, places, xerr=(below, above), fmt=marker, color=color, capsize=2, ms=5, label=measure)
    axis.axvline(1, color="#666666", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="ratio (logarithmic scale)")
    low, high = min(row["low"] for row in rows), max(row["high"] for row in rows)
    axis.set_xlim(low / 1.2, high * 1.2)
    if high / low < _DECADE:
        axis.set_xticks([tick for tick in _CLOSE_TICKS if low / 1.2 <= tick <= high * 1.2])
        axis.minorticks_off()
    axis.xaxis.set_major_formatter(_PLAIN)
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    figure.legend(frameon=False, loc="outside upper center", ncols=len(measures))
    return figure


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['case']}: {row['what']} / {row['against']}"


_PLOTS: Mapping[str, Callable[[Reading], Any]] = {
    "head": _head,
    # What is many times smaller, a size or the time of --help, would squeeze the rest into a corner.
    "served": lambda rows: _ratios([row for row in rows if row["measure"] == "time"]),
    "export": lambda rows: _ratios([row for row in rows if row["at"]]),
    "check": _check,
    "client": _ratios,
    "batching": _batching,
    "growth": _growth,
}
