"""Plot the latencies of benchmark runs. This needs matplotlib, from the extra `plot`."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from client.bench.load import PERCENTILES, BenchResult
from client.errors import InputError


def plot_latency(results: Sequence[BenchResult], path: Path) -> None:
    """Plot each load's latency over its percentiles, on a scale with equal space for 90%, 99% and 99.9%.

    Raises:
        InputError: if matplotlib is missing, or if it does not know the ending of the file name.
    """
    try:
        figures = import_module("matplotlib.figure")
    except ImportError as error:
        raise InputError("plots need matplotlib: pip install 'sparsehead[plot]'") from error
    figure = figures.Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    places = [100 / (100 - percent) for percent in PERCENTILES]
    for result in results:
        latencies = [result.percentiles_ms[f"{percent:g}"] for percent in PERCENTILES]
        axes.plot(places, latencies, marker="o", label=f"{result.load}, {result.calls_per_second:.0f} calls/s")
    axes.set_xscale("log")
    axes.set_xticks(places, [f"{percent:g}%" for percent in PERCENTILES], minor=False)
    axes.minorticks_off()
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency, ms")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        figure.savefig(path)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
