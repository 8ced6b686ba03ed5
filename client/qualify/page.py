"""A qualification as a page."""

from collections import Counter
from collections.abc import Callable, Mapping
from html import escape

from client.page import page, section, sentence, table
from client.qualify.chart import Line, chart
from client.qualify.deviation import SizeDeviation
from client.qualify.points import MOST_WINDOWS, Point
from client.qualify.results import LoadResult, Qualification, Screened
from client.qualify.versions import VersionRatio

_DEVIATION: Mapping[str, Callable[[SizeDeviation], object]] = {
    "batch size": lambda size: size.batch,
    "examples": lambda size: size.rows,
    "largest difference": lambda size: f"{size.largest:.2g}",
    "at a score of": lambda size: f"{size.at:.3f}",
    "from the same alone": lambda size: f"{size.between:.2g}",
    "backbone, times CPU": lambda size: f"{size.backbone:.2g}",
    "head, times CPU": lambda size: f"{size.head:.2g}",
}
_POINTS: Mapping[str, Callable[[Point], object]] = {
    "batch size": lambda point: point.batch,
    "callers": lambda point: point.callers,
    "examples/s": lambda point: f"{point.examples_per_second:.0f}",
    "median ms": lambda point: f"{point.p50_ms:.2f}",
    "p99 ms": lambda point: f"{point.p99_ms:.2f}",
    "calls": lambda point: point.calls,
    "windows": lambda point: point.windows,
    "settled": lambda point: "yes" if point.settled else "no",
}
_SCREENED: Mapping[str, Callable[[Screened], object]] = {
    "batch size": lambda one: one.batch,
    "callers": lambda one: one.callers,
    "examples/s": lambda one: f"{one.examples_per_second:.0f}",
}
_VERSIONS: Mapping[str, Callable[[VersionRatio], object]] = {
    "version": lambda one: one.version,
    "batching": lambda one: one.merges,
    "batch size": lambda one: one.batch,
    "callers": lambda one: one.callers,
    "examples/s, ratio": lambda one: f"{one.examples_per_second:.2f}",
    "p99, ratio": lambda one: f"{one.p99:.2f}",
    "rounds": lambda one: one.rounds,
}


def qualification_page(found: Qualification) -> str:
    """Return the page."""
    return page(
        found.title,
        found.time,
        (
            section("verdict", "Verdict", _verdict(found)),
            section("server", "Server", _server(found)),
            section("deviation", "Deviation and tolerances", _deviation(found)),
            section("recommendation", "Recommended batching", _recommendation(found)),
            section("throughput", "Throughput and latency", _throughput(found)),
            section("versions", "Other versions", _versions(found)),
        ),
    )


def _verdict(found: Qualification) -> str:
    answer = "The server serves the export, and its load was measured." if found.passed else "Not qualified."
    faults = "".join(f'<li class="bad">{escape(fault)}</li>' for fault in found.faults)
    notes = "".join(f"<li>{escape(note)}</li>" for note in found.notes)
    return (
        sentence(answer, found.passed)
        + (f'<h3>What is wrong</h3><ul class="faults">{faults}</ul>' if faults else "")
        + (f"<h3>Limits of these results</h3><ul>{notes}</ul>" if notes else "")
    )


def _server(found: Qualification) -> str:
    server, metrics = found.server, found.metrics
    graph = server.graph_batching
    batching = [f"in the graph, up to {graph.get('max_batch_size')}"] if graph else []
    batching += ["by the server"] if server.server_batching else []
    memory = "; ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.memory.items()))
    rows = {
        "address": found.address,
        "model": found.model,
        "versions": ", ".join(f"{one.version} {one.state}" for one in server.versions),
        "signatures": ", ".join(server.signatures),
        "batching": " and ".join(batching) or "none",
        "precision": server.precision or "unknown",
        "exported for the server image": server.image or "unknown",
        "device": metrics.device,
        "GPU": "confirmed by the metrics" if metrics.gpu_confirmed else "not confirmed",
        "memory": memory or metrics.memory_told,
    }
    columns: Mapping[str, Callable[[tuple[str, str]], object]] = {"": lambda row: row[0], "value": lambda row: row[1]}
    return table("What the server reports", found.address, rows.items(), columns)


def _deviation(found: Qualification) -> str:
    rows = table("Differences from the golden scores", found.address, found.deviation, _DEVIATION)
    rows += sentence('"Times CPU" is a multiple of what a check allows on a CPU.')
    if found.tolerances is None:
        return sentence("No tolerances follow from these differences.", good=False) + rows
    backbone, head = found.tolerances.backbone, found.tolerances.head
    blind = "; ".join(found.tolerances.blind_to)
    return (
        f"<p>This hardware needs {backbone.atol:g} + {backbone.rtol:g} of the score for the backbone and "
        f"{head.atol:g} + {head.rtol:g} for the head: {found.headroom:g} times the largest difference, and at least "
        "what a check allows on a CPU. Use them with "
        "<code>serving-client check --tolerances qualification.json</code>.</p>"
        + (sentence(f"A check with them cannot see {blind}.") if blind else "")
        + rows
    )


def _recommendation(found: Qualification) -> str:
    load = found.load
    chosen = load.recommendation
    if chosen is None:
        return sentence("Nothing that was measured allows a recommendation.")
    lines = [
        Line("99th percentile", _over_sizes(load, 1, lambda point: point.p99_ms)),
        Line("median", _over_sizes(load, 1, lambda point: point.p50_ms)),
    ]
    bound = None if chosen.bound_ms is None else (chosen.bound_ms - chosen.batch_timeout_micros / 1000) / 2
    return (
        f"<p><code>export-model --batching in-graph {escape(chosen.options)}</code></p>"
        + ("" if found.metrics.gpu_confirmed else sentence("No GPU confirmed this."))
        + f"<ul>{''.join(f'<li>{escape(reason)}</li>' for reason in chosen.why)}</ul>"
        + chart("Latency of one caller", "batch size", "milliseconds", lines, bound=bound, logarithmic=True)
        + ("" if bound is None else sentence(f"The red line, at {bound:.3g} ms, is what the bound leaves for one run."))
    )


def _throughput(found: Qualification) -> str:
    load, best = found.load, found.load.best
    if best is None:
        return sentence("No load was answered, or the time was up.")
    answered = [point for point in load.points if point.calls]
    over_sizes = [
        Line(f"callers: {callers}", _over_sizes(load, callers, lambda point: point.examples_per_second))
        for callers, _ in Counter(point.callers for point in answered).most_common(2)
    ]
    over_callers = [
        Line(f"batch size: {size}", {one.callers: one.examples_per_second for one in answered if one.batch == size})
        for size, _ in Counter(point.batch for point in answered).most_common(2)
    ]
    return (
        sentence(
            f"The highest throughput was {best.examples_per_second:.0f} examples a second, at {best.place}. The search "
            f"took {load.search_windows:.1f} windows of {load.window_seconds:.2g} s."
        )
        + chart("Throughput over the batch size", "batch size", "examples a second", over_sizes)
        + chart("Throughput over the callers", "callers", "examples a second", over_callers)
        + table(f"Measured for up to {MOST_WINDOWS} windows", found.address, load.points, _POINTS)
        + table("Short windows of the search", found.address, load.screened, _SCREENED)
    )


def _versions(found: Qualification) -> str:
    if not found.load.versions:
        return sentence("No other version that takes the same requests was measured.")
    return sentence(
        f"Each number is divided by that of version {found.server.version}, which was measured in turn with it."
    ) + table("Ratios", found.address, found.load.versions, _VERSIONS)


def _over_sizes(load: LoadResult, callers: int, value: Callable[[Point], float]) -> dict[int, float]:
    return {point.batch: value(point) for point in load.points if point.callers == callers and point.calls}
