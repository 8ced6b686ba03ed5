"""A qualification as one HTML page: no scripts, nothing from elsewhere, readable on a phone and in the dark."""

from collections import Counter
from collections.abc import Callable
from html import escape

from client.check.report import page, table
from client.qualify.chart import Line, chart
from client.qualify.points import Point
from client.qualify.results import LoadResult, Qualification


def qualification_page(found: Qualification) -> str:
    """Return the page."""
    sections = (
        ("verdict", "What was found", _verdict(found)),
        ("server", "The server", _server(found)),
        ("deviation", "Deviation and tolerances", _deviation(found)),
        ("recommendation", "Recommended batching", _recommendation(found)),
        ("throughput", "Throughput and latency", _throughput(found)),
        ("versions", "Other versions", _versions(found)),
    )
    return page(
        found.title,
        found.time,
        (
            f'<section aria-labelledby="{key}"><h2 id="{key}">{heading}</h2>{content}</section>'
            for key, heading, content in sections
            if content
        ),
    )


def _verdict(found: Qualification) -> str:
    good = "What is served is the export, and it was measured." if found.passed else "Not qualified."
    faults = "".join(f'<li class="bad">{escape(fault)}</li>' for fault in found.faults)
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return (
        f'<p class="{"good" if found.passed else "bad"}"><strong>{good}</strong></p>'
        + (f'<h3>What is wrong</h3><ul class="faults">{faults}</ul>' if faults else "")
        + (f"<h3>What limits this</h3><ul>{notes}</ul>" if notes else "")
    )


def _server(found: Qualification) -> str:
    server, metrics = found.server, found.metrics
    graph = server.graph_batching
    merges = ["the graph" + (f", up to {graph.get('max_batch_size')}" if graph else "")] if graph else []
    merges += ["the server"] if server.server_batching else []
    versions = ", ".join(f"{one.version} {one.state}" for one in server.versions)
    memory = "; ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.memory.items()))
    rows = [
        ("address", found.address),
        ("model", found.model),
        ("versions", versions),
        ("signatures", ", ".join(server.signatures)),
        ("what merges requests", " and ".join(merges) or "nothing"),
        ("precision", server.precision or "unknown"),
        ("exported for the image", server.image or "unknown"),
        ("device", metrics.device),
        ("GPU", "confirmed by the metrics" if metrics.gpu_confirmed else "not confirmed"),
        ("memory", memory or metrics.memory_told),
    ]
    cells = [(name, escape(value)) for name, value in rows]
    return table("What it tells", found.address, ("what", "value"), cells, numbers=False)


def _deviation(found: Qualification) -> str:
    rows = [
        (
            size.batch,
            size.rows,
            f"{size.largest:.2g}",
            f"{size.at:.3f}",
            f"{size.between:.2g}",
            f"{size.backbone:.2g}",
            f"{size.head:.2g}",
        )
        for size in found.deviation
    ]
    headers = (
        "batch size",
        "examples",
        "largest difference",
        "at the score",
        "from the same alone",
        "of a CPU's tolerance",
        "of the head's",
    )
    if found.tolerances is None:
        said = '<p class="bad">No tolerances follow from these differences.</p>'
    else:
        backbone, head = found.tolerances.backbone, found.tolerances.head
        blind = "; ".join(found.tolerances.blind_to)
        said = (
            f"<p>This hardware needs {backbone.atol:g} + {backbone.rtol:g} of the score for the backbone and "
            f"{head.atol:g} + {head.rtol:g} for the head: {found.headroom:g} times what was seen, and at least what a "
            "check allows on a CPU. Use them with <code>serving-client check --tolerances qualification.json</code>."
            "</p>" + (f"<p>A check with them cannot see {escape(blind)}.</p>" if blind else "")
        )
    return said + table("Differences from the golden scores", found.address, headers, rows)


def _recommendation(found: Qualification) -> str:
    load = found.load
    chosen = load.recommendation
    if chosen is None:
        return "<p>Nothing that was measured allows a recommendation.</p>"
    why = "".join(f"<li>{escape(sentence)}</li>" for sentence in chosen.why)
    unconfirmed = "" if found.metrics.gpu_confirmed else "<p>No GPU confirmed this.</p>"
    return (
        f"<p><code>export-model --batching in-graph {escape(chosen.options)}</code></p>{unconfirmed}<ul>{why}</ul>"
        + chart(
            "A run alone",
            "batch size",
            "milliseconds",
            [
                Line("99th percentile", _by_batch(load, 1, lambda point: point.p99_ms)),
                Line("median", _by_batch(load, 1, lambda point: point.p50_ms)),
            ],
            None if chosen.bound_ms is None else (chosen.bound_ms - chosen.batch_timeout_micros / 1000) / 2,
        )
        + ("" if chosen.bound_ms is None else "<p>The red line is what the bound leaves to one run.</p>")
    )


def _throughput(found: Qualification) -> str:
    load, best = found.load, found.load.best
    if best is None:
        return "<p>No load was answered, or the time was up.</p>"
    answered = [point for point in load.points if point.calls]
    batches = [number for number, _ in Counter(point.batch for point in answered).most_common(2)]
    at_once = [number for number, _ in Counter(point.callers for point in answered).most_common(2)]
    over_callers = [
        Line(f"batch {size}", {one.callers: one.examples_per_second for one in answered if one.batch == size})
        for size in batches
    ]
    over_batches = [
        Line(f"{callers} at once", _by_batch(load, callers, lambda point: point.examples_per_second))
        for callers in at_once
    ]
    headers = ("batch size", "at once", "examples/s", "median ms", "p99 ms", "calls", "windows", "settled")
    rows = [
        (
            point.batch,
            point.callers,
            f"{point.examples_per_second:.0f}",
            f"{point.p50_ms:.2f}",
            f"{point.p99_ms:.2f}",
            point.calls,
            point.windows,
            "yes" if point.settled else "no",
        )
        for point in load.points
    ]
    screened = [(one.batch, one.callers, f"{one.examples_per_second:.0f}") for one in load.screened]
    return (
        f"<p>The highest throughput was {best.examples_per_second:.0f} examples a second, at {best.place}. The search "
        f"took {load.search_windows:.1f} windows of {load.window_seconds:.2g} s.</p>"
        + chart("Throughput over the batch size", "batch size", "examples a second", over_batches)
        + chart("Throughput over the callers", "callers at once", "examples a second", over_callers)
        + table("Measured until the last three windows agree", found.address, headers, rows)
        + table("Short windows of the search", found.address, ("batch size", "at once", "examples/s"), screened)
    )


def _versions(found: Qualification) -> str:
    rows = [
        (
            one.version,
            escape(one.merges),
            one.batch,
            one.callers,
            f"{one.examples_per_second:.2f}",
            f"{one.p99:.2f}",
            one.rounds,
        )
        for one in found.load.versions
    ]
    if not rows:
        return "<p>No other version that takes the same requests was measured.</p>"
    headers = ("version", "what merges requests", "batch size", "at once", "examples/s, times", "p99, times", "rounds")
    return f"<p>Each number is divided by that of version {found.server.version}, measured in turn.</p>" + table(
        "Ratios", found.address, headers, rows
    )


def _by_batch(load: LoadResult, callers: int, value: Callable[[Point], float]) -> dict[int, float]:
    return {point.batch: value(point) for point in load.points if point.callers == callers and point.calls}
