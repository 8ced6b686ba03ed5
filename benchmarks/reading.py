"""Rows in words: their cells in a table, and what a part says about them in one sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

# The rows of a part, as the JSON has them.
Reading = Sequence[Mapping[str, Any]]
# Ratios below read better as percentages.
_SMALL = 0.5


def found(rows: Reading, **wanted: str) -> Mapping[str, Any]:
    """Return the one row whose fields are as wanted.

    Raises:
        LookupError: if there is no such row, because it was left out.
    """
    for row in rows:
        if all(row[name] == value for name, value in wanted.items()):
            return row
    raise LookupError(f"no row with {wanted}")


def times(row: Mapping[str, Any]) -> str:
    """Return a ratio in words, with its spread, so that "the time of sorting" can follow."""
    ratios = [row[name] for name in ("ratio", "low", "high")]
    if row["ratio"] < _SMALL:
        ratio, low, high = (f"{number(100 * one)}%" for one in ratios)
        return f"{ratio} ({low} to {high}) of"
    ratio, low, high = map(number, ratios)
    return f"{ratio} times ({low} to {high})"


def cells(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return what a row compares, its ratio, its spread and the medians of its sides, as a table shows them."""
    if row["other"] is None:
        # Outward, so that the spread holds all that was measured.
        spread = f"{math.floor(100 * row['low'])}% to {math.ceil(100 * row['high'])}%"
        return row["what"], f"{100 * row['ratio']:.0f}%", spread, ""
    # Sizes do not vary, and are measured once.
    spread = f"{number(row['low'])} to {number(row['high'])}" if row["pairs"] > 1 else ""
    medians = f"{number(row['ours'])} / {number(row['other'])} {row['unit']}"
    return f"{row['what']} / {row['against']}", number(row["ratio"]), spread, medians


def number(value: float) -> str:
    """Return a positive number with three significant digits, and without an exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.5f}"
