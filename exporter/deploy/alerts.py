"""Alert rules for Prometheus on the server's own metrics."""

import re
from collections.abc import Collection, Mapping

from exporter.deploy.files import to_yaml
from exporter.deploy.templates import fill_documents, top_comment

# A batch that waits for longer than this many timeouts waits for a free thread.
_TIMEOUTS = 2


def alerts_file(warmed_up: Collection[str], batch_timeouts: Mapping[str, int], startup_seconds: int) -> str:
    """Return the alert rules.

    Args:
        warmed_up: the models whose versions have warm-up requests.
        batch_timeouts: for each model that batches in the graph, how long a request waits for others, in microseconds.
        startup_seconds: how long a version may take to load and warm up.
    """
    (alerts,) = fill_documents("alerts.yaml", {})
    rules = alerts["groups"][0]["rules"]
    if warmed_up:
        models = "|".join(_quoted(model) for model in sorted(warmed_up))
        rules += fill_documents("alert-warmup.yaml", {"models": models, "startup_seconds": startup_seconds})
    for model, timeout in sorted(batch_timeouts.items()):
        values = {"model": model, "ops": batch_ops(model), "timeout": timeout, "longest": _TIMEOUTS * timeout}
        rules += fill_documents("alert-batching.yaml", values)
    return top_comment("alerts.yaml") + to_yaml(alerts)


def batch_ops(model: str) -> str:
    """Return a regular expression for the op names of a model's batching in the graph, for a PromQL string.

    A name may start with the function that calls the op, and end with a length that requests are padded to.

    Example:
        >>> batch_ops("digits")
        '(.*/)?digits_backbone(_[0-9]+)?'
    """
    return f"(.*/)?{_quoted(model)}_backbone(_[0-9]+)?"


def _quoted(model: str) -> str:
    """Return a regular expression for a model's name, for a PromQL string."""
    return re.escape(model).replace("\\", "\\\\")
