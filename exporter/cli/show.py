"""What `export-model` prints for a person."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from exporter.cli.terminal import folding

if TYPE_CHECKING:
    from exporter.pipeline import PublishedVersion
    from exporter.store.listing import VersionRecord
    from exporter.thresholds import ThresholdFit

# How many digits of a commit to show: enough to tell it from others.
_COMMIT = 12


def print_export(version: PublishedVersion, name: str, output: Path, seconds: float) -> None:
    """Print the version's signatures and measurements, where it is, and what to run next."""
    from exporter.validation.gpu_kernels import readiness_table

    console = _stdout_console()
    table = Table(
        *folding("signature", "inputs", "outputs"), title=f"{name}, version {version.version}", title_justify="left"
    )
    for signature in version.signatures:
        table.add_row(signature.key, _listed(signature.inputs), _listed(signature.outputs))
    console.print(table)
    console.print(readiness_table(version.gpu))
    if version.threshold_fit:
        console.print(_fit_table(version.threshold_fit))
    if version.quality:
        quality = version.quality
        console.print(
            f"On {quality.samples} labeled samples: exact match {quality.exact_match:.1%}, F1 {quality.f1:.3f}, "
            f"{quality.more_than_k:.1%} with more true labels than k.",
            highlight=False,
        )
    if version.deviation:
        console.print(
            f"Against float32: largest difference {version.deviation.largest:.2g}, "
            f"{version.deviation.changed_sets:.1%} of the kept sets changed.",
            highlight=False,
        )
    for verdict in version.validated_on:
        console.print(
            f"On {verdict['target']}, server {verdict['server'] or 'of an unknown version'}, {verdict['device']}: "
            f"available after {verdict['startup_seconds']:.1f} s, {verdict['answers']} answers as exported, "
            f"{verdict['malformed_requests']} malformed requests survived.",
            markup=False,
            highlight=False,
        )
    for line in _next(version, name, output, seconds):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _fit_table(fit: ThresholdFit) -> Table:
    title = f"Thresholds for {fit.rule}, fitted on {fit.samples} labeled samples"
    table = Table(*folding("label", "threshold", "positives", "precision", "recall"), title=title, title_justify="left")
    for each in fit.labels:
        numbers = ("-" if value is None else f"{value:.4f}" for value in (each.threshold, each.precision, each.recall))
        threshold, precision, recall = numbers
        table.add_row(escape(each.label), threshold, str(each.positives), precision, recall)
    return table


def _next(version: PublishedVersion, name: str, output: Path, seconds: float) -> list[str]:
    if version.dry_run:
        return [f"Dry run: {version.path} would be published; nothing was written. {seconds:.1f} s."]
    lines = [f"Published {version.path} in {seconds:.1f} s."]
    if version.removed:
        lines.append(f"Removed: version {', '.join(map(str, version.removed))}.")
    if version.server_files:
        lines += [f"Note: {note}" for note in version.server_files.notes]
        lines += [f"Server files: {output / 'deploy'}. With Docker, in {output.resolve()}:"]
        lines += [
            f"  {version.server_files.docker_run}",
            "Or, without Docker, here:",
            f"  {version.server_files.serve_model}",
        ]
    golden = ["check", "--golden", str(version.path)]
    return [
        *lines,
        "Then:",
        "  " + shlex.join(["serving-client", "--address", "localhost:8500", "--model", name, *golden]),
    ]


def print_versions(versions: Sequence[VersionRecord], as_json: bool) -> None:
    """Print the versions of every model in an output directory."""
    if as_json:
        print(json.dumps({"versions": [asdict(version) for version in versions]}))
        return
    headers = ("model", "version", "created", "k", "MB", "TensorFlow", "labels", "export id", "commit", "metadata")
    table = Table(*folding(*headers))
    for each in versions:
        known = ("-" if value is None else str(value) for value in (each.created, each.k))
        table.add_row(
            each.model,
            str(each.version),
            *known,
            f"{each.bytes / 1e6:.1f}",
            each.tensorflow or "-",
            escape(", ".join(each.labels)) or "-",
            each.export_id or "not ours",
            (each.git_commit or "-")[:_COMMIT],
            "\n".join(f"{key}={value}" for key, value in each.metadata.items()),
        )
    _stdout_console().print(table)


def _listed(specs: Mapping[str, Any]) -> str:
    """List inputs or outputs, one on each line, as in "images float32 [B, 32, 32, 1]"."""
    return "\n".join(f"{name} {spec.dtype.name} {_shape(spec.shape)}" for name, spec in specs.items())


def _shape(shape: Any) -> str:
    if shape.rank is None:
        return "scalar or \\[B]"
    sizes: Sequence[int | None] = shape.as_list()
    return "\\[" + ", ".join(("B", "K")[i > 0] if size is None else str(size) for i, size in enumerate(sizes)) + "]"


def _stdout_console() -> Console:
    """Return a console for stdout, which breaks long lines only on a terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = 100_000
    return console
