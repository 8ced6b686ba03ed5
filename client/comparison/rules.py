"""The rules that stop a candidate, each with a sentence that says why."""

from client.comparison.results import Comparison, LabelChanges, LatencyChange, Limits, QualityChange
from client.comparison.sides import Side

# The maximum number of labels in a sentence.
_NAMED = 5


def stopped_by_statements(before: Side, after: Side, found: Comparison, limits: Limits) -> dict[str, str]:
    """Return the rules that are broken by what the versions report about themselves."""
    stopped = {}
    if not limits.label_change:
        unknown = [side.version for side in (before, after) if side.info is None]
        if unknown:
            stopped["labels"] = (
                f"Version {unknown[0]} does not report its labels; pass --allow-label-change if they are the same."
            )
        elif found.labels:
            stopped["labels"] = (
                f"Labels changed: {list_changes(found.labels)}; pass --allow-label-change if callers know."
            )
    if found.breaking and not limits.breaking_change:
        changes = "; ".join(found.breaking)
        stopped["interface"] = f"Callers would break: {changes}; pass --allow-breaking-change if they know."
    return stopped


def stopped_by_measurements(found: Comparison) -> dict[str, str]:
    """Return the rules that are broken by what was measured."""
    stopped = {}
    for change in found.quality:
        if change.passed is False:
            stopped[f"{change.metric}, {change.slice}" if change.slice else change.metric] = _lower(change)
    if found.latency is not None and found.latency.passed is False:
        stopped["latency"] = _slower(found.latency, found.before)
    return stopped


def notes_on_samples(samples: int, limits: Limits) -> tuple[str, ...]:
    """Return what this number of labeled samples cannot show."""
    allowed = [drop for drop in (limits.exact_match_drop, limits.f1_drop) if drop is not None]
    # With a probability of 5%, 3 / p samples miss a fault that a share p of all samples has.
    if not allowed or 3 / samples <= min(allowed):
        return ()
    return (
        f"{samples} labeled samples can miss a fault that {min(1, 3 / samples):.1%} of all samples have, more than the "
        "drop that is allowed.",
    )


def list_changes(labels: LabelChanges) -> str:
    """Return the changes of the labels as readable text."""
    changes = []
    for what, names in (("added", labels.added), ("removed", labels.removed), ("moved", labels.moved)):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            changes.append(f"{', '.join(names[:_NAMED])}{more} {what}")
    return "; ".join(changes)


def _lower(change: QualityChange) -> str:
    drop, where = change.before - change.after, f" of the slice {change.slice}" if change.slice else ""
    hint = "" if change.allowed is None or drop > change.allowed else ": more labeled samples narrow the interval"
    return (
        f"The {change.metric}{where} drops by {drop:.4f}, from {change.before:.4f} to {change.after:.4f}; with 95% "
        f"confidence the drop is from {change.low:.4f} to {change.high:.4f}, and {change.allowed:g} is allowed{hint}."
    )


def _slower(change: LatencyChange, before: int) -> str:
    return (
        f"The latency is {change.ratio:.2f} times that of version {before}, with 95% confidence from {change.low:.2f} "
        f"to {change.high:.2f}, and {change.allowed:g} times is allowed."
    )
