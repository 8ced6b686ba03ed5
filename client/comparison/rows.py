"""A comparison as rows of a table, for a terminal and for a page."""

from collections.abc import Iterator
from dataclasses import dataclass

from client.comparison.results import Comparison
from client.comparison.rules import list_changes

HEADERS = ("compared", "before", "after", "change", "allowed")


@dataclass(frozen=True)
class Row:
    """One line of the table. `passed` is None if nothing limits the change."""

    compared: str
    before: str
    after: str
    change: str
    allowed: str
    passed: bool | None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells below HEADERS."""
        return (self.compared, self.before, self.after, self.change, self.allowed)


def title(found: Comparison) -> str:
    """Return the heading of the table."""
    return f"model {found.model}, from version {found.before} to version {found.after}, at {found.address}"


def rows(found: Comparison) -> Iterator[Row]:
    """Yield the rows."""
    yield _reported(found, "labels", list_changes(found.labels) if found.labels else "none", bool(found.labels))
    yield _reported(found, "interface", "; ".join(found.breaking) or "none that breaks callers", bool(found.breaking))
    for one in found.quality:
        where = f" of {one.slice}" if one.slice else ""
        yield Row(
            f"{one.metric}{where}, {one.samples} samples",
            f"{one.before:.4f}",
            f"{one.after:.4f}",
            f"{one.after - one.before:+.4f} ({-one.high:+.4f} to {-one.low:+.4f})",
            "" if one.allowed is None else f"{-one.allowed:+g}",
            one.passed,
        )
    if (answers := found.answers) is not None:
        yield Row(f"kept labels, {answers.samples} samples", "", "", f"{answers.changed_sets:.1%} changed", "", None)
        differences = f"{answers.mean_difference:.2g} on average, at most {answers.largest_difference:.2g}"
        yield Row(f"scores, {answers.samples} samples", "", "", differences, "", None)
    if (latency := found.latency) is not None:
        yield Row(
            f"latency, median of {latency.calls} calls",
            f"{latency.before_ms:.2f} ms",
            f"{latency.after_ms:.2f} ms",
            f"{latency.ratio:.2f} times ({latency.low:.2f} to {latency.high:.2f})",
            "" if latency.allowed is None else f"{latency.allowed:g} times",
            latency.passed,
        )


def _reported(found: Comparison, rule: str, change: str, changed: bool) -> Row:
    stopped = rule in found.stopped
    allowed = "none" if stopped or not changed else "any"
    return Row(rule, "", "", change, allowed, not stopped)
