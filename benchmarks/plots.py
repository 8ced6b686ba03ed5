"""The plots of the page, from the results alone.

The colors are those of Okabe and Ito, which color-blind readers tell apart.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

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
# Lines to draw: by name, the points.
Lines = Mapping[str, Sequence[tuple[float, float]]]


def plot_part(part: str, rows: Reading, file: Path) -> None:
    """Draw the plot of a part."""
    with plt.rc_context(_STYLE):
        figure = _PLOTS[part](rows)
        # Without the date and the version of matplotlib, the same results make the same file.
        figure.savefig(file, dpi=110, metadata={"Software": None})
        plt.close(figure)


def _head(rows: Reading) -> Any:
    chosen = [row for row in rows if row["at"].get("batch") == 32 and row["at"].get("k") == 5]
    return _drawn([("time of a call (ms)", _lines(chosen, "labels"), "log")], "labels N", "batch 32, k = 5")


def _check(rows: Reading) -> Any:
    chosen = [row for row in rows if "labels" in row["at"]]
    return _drawn([("time (ms)", _lines(chosen, "labels"), "log")], "labels N", "a check, and the least it could take")


def _batching(rows: Reading) -> Any:
    panels = []
    for measure, unit in (("throughput", "requests/s"), ("99th percentile", "ms")):
        chosen = [row for row in rows if row["measure"] == measure]
        panels.append((f"{measure} ({unit})", _lines(chosen, "callers"), "linear"))
    return _drawn(panels, "callers at once", "MobileNetV2 at 64x64, one image a request")


def _growth(rows: Reading) -> Any:
    panels = []
    for measure, unit in (("memory", "MB"), ("time to load", "s")):
        chosen = [row for row in rows if row["measure"] == measure and "labels" in row["at"]]
        panels.append((f"{measure} ({unit})", _lines(chosen, "labels"), "linear"))
    return _drawn(panels, "labels N", "loading a version of a linear model")


def _lines(rows: Reading, x: str) -> Lines:
    """Return both sides of each row as points, each once."""
    lines: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in ((row["what"], row["ours"]), (row["against"], row["other"])):
            lines.setdefault(name, {})[row["at"][x]] = value
    return {name: sorted(points.items()) for name, points in lines.items()}


def _drawn(panels: Sequence[tuple[str, Lines, str]], x_label: str, title: str) -> Any:
    figure, axes = plt.subplots(1, len(panels), figsize=(7.5 if len(panels) == 1 else 10, 4.2), layout="constrained")
    for axis, (y_label, lines, scale) in zip(axes if len(panels) > 1 else [axes], panels, strict=True):
        for (name, points), color, marker in zip(lines.items(), COLORS, MARKERS, strict=False):
            axis.plot(*zip(*points, strict=True), color=color, marker=marker, label=name)
        ticks = sorted({x for points in lines.values() for x, _ in points})
        axis.set(xlabel=x_label, ylabel=y_label, xscale="log", yscale=scale)
        axis.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        if scale == "linear":
            axis.set_ylim(bottom=0)
        axis.minorticks_off()
        axis.legend(frameon=False)
    figure.suptitle(title)
    return figure


def _ratios(rows: Reading) -> Any:
    """Draw each ratio as a dot with its spread, and a line where both sides are the same."""
    measures = list(dict.fromkeys(row["measure"] for row in rows))
    names = list(dict.fromkeys(_name(row) for row in rows))
    figure, axis = plt.subplots(figsize=(9, 1.2 + 0.32 * len(names)), layout="constrained")
    for index, (measure, color, marker) in enumerate(zip(measures, COLORS, MARKERS, strict=False)):
        chosen = [row for row in rows if row["measure"] == measure]
        places = [names.index(_name(row)) + 0.16 * (index - (len(measures) - 1) / 2) for row in chosen]
        values = [row["ratio"] for row in chosen]
        below = [row["ratio"] - row["low"] for row in chosen]
        above = [row["high"] - row["ratio"] for row in chosen]
        axis.errorbar(values, places, xerr=(below, above), fmt=marker, color=color, capsize=2, ms=5, label=measure)
    axis.axvline(1, color="#666666", linestyle="--", linewidth=1)
    axis.set(xscale="log", xlabel="ratio, logarithmic; left of 1 is less than what it is compared with")
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.legend(frameon=False, loc="best")
    return figure


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['case']}: {row['what']} / {row['against']}"


_PLOTS: Mapping[str, Callable[[Reading], Any]] = {
    "head": _head,
    # Sizes, a thousand times smaller, would squeeze the times into a corner.
    "served": lambda rows: _ratios([row for row in rows if row["measure"] == "time"]),
    "export": _ratios,
    "check": _check,
    "client": _ratios,
    "batching": _batching,
    "growth": _growth,
}
