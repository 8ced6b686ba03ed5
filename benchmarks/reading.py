"""What a part says about its rows in one sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

# The rows of a part, as the JSON has them.
Reading = Sequence[Mapping[str, Any]]


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
    """Return a ratio in words, with its spread."""
    return f"{number(row['ratio'])} ({number(row['low'])} to {number(row['high'])}) times"


def number(value: float) -> str:
    """Return a positive number with three significant digits, and without an exponent."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:#.3g}" if value >= 1e-3 else f"{value:.5f}"
