"""The command `export-model`, which runs `exporter.export`."""

from __future__ import annotations

import gc
import importlib.metadata
import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from exporter.cli import show
from exporter.cli.model_options import source_options
from exporter.cli.options import PROGRAM_VERSION, all_options, export_options
from exporter.cli.terminal import filtered_stderr, interrupted_once, replace_unprintable
from exporter.errors import ExportError, StoreError, ValidationError
from exporter.sources.load import load_classifier
from exporter.store.listing import list_versions

if TYPE_CHECKING:
    from exporter.pipeline import PublishedVersion

# Exit statuses, the same in all commands of this project.
THE_ANSWER_IS_NO, WRONG_INPUT, OUR_ERROR, INTERRUPTED = 1, 2, 4, 130


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("model", default="digits")
@all_options
def main(model: str, k: int, output: Path, as_json: bool, **given: Any) -> None:
    """Publish MODEL with a sparsified head as the next version in OUTPUT/NAME, ready for a TensorFlow server.

    MODEL is a .keras or .h5 file, a SavedModel that Keras exported, PACKAGE.MODULE:FACTORY, or a preset: "digits" (the
    default), a small network that finds handwritten digits, "mobilenetv2" or "resnet18".
    """
    replace_unprintable()
    if given["version"] == PROGRAM_VERSION:
        print(f"export-model {importlib.metadata.version('sparsehead')}")
        return
    with interrupted_once(), filtered_stderr() as stderr:
        console = Console(stderr=True, file=stderr)
        try:
            _run(console, model, k, output, as_json, given)
        except ExportError as error:
            between = "\n" if "\n" in str(error) else " "
            words = between.join([str(error), *getattr(error, "__notes__", ())])
            console.print(f"export-model: {words}", style="red", markup=False, highlight=False, soft_wrap=True)
            sys.exit(_status(error))
        except KeyboardInterrupt:
            console.print("export-model: interrupted.", style="red", highlight=False)
            sys.exit(INTERRUPTED)


def _run(console: Console, model: str, k: int, output: Path, as_json: bool, given: dict[str, Any]) -> None:
    started = time.monotonic()
    if given["list_versions"]:
        show.print_versions(list_versions(output, _version_labels(console, output)), as_json)
        return
    with _step(console, "Loading TensorFlow"):
        _import_tensorflow()
    from exporter.pipeline import export

    options = export_options(given)
    with _step(console, f"Loading {model}"):
        classifier = load_classifier(model, source_options(given))
    version = export(classifier, output, k, options, lambda what: _step(console, what))
    for warning in version.warnings:
        console.print(f"Note: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if as_json:
        print(json.dumps(_summary(version, classifier.name, k, time.monotonic() - started, options.dry_run)))
    else:
        show.print_export(version, classifier.name, output, time.monotonic() - started)


def _version_labels(console: Console, output: Path) -> dict[str, dict[int, list[str]]]:
    """Return the labels of each version; none, with a note, if they cannot be read."""
    try:
        from exporter.deploy.models_config import version_labels

        return version_labels(output)
    except (ImportError, OSError, ValueError) as error:
        console.print(f"Note: labels are unknown: {error}.", style="yellow", markup=False, soft_wrap=True)
        return {}


def _status(error: ExportError) -> int:
    if isinstance(error, ValidationError):
        return THE_ANSWER_IS_NO
    return OUR_ERROR if isinstance(error, StoreError) else WRONG_INPUT


def _import_tensorflow() -> None:
    """Import TensorFlow and Keras without TensorFlow's messages about the machine."""
    if not importlib.util.find_spec("tensorflow"):
        raise ExportError("TensorFlow is not installed: pip install 'sparsehead[export]'.")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Imported modules stay in memory: searching them for garbage repeatedly took a tenth of an export.
    gc.disable()
    import tensorflow as tf

    import exporter.pipeline  # noqa: F401  # and with it Keras

    gc.freeze()
    gc.enable()
    # Loading a version as a server does needs an API that TensorFlow warns about.
    tf.get_logger().setLevel(logging.ERROR)


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    """Show a step while it runs, then how long it took."""
    started = time.monotonic()
    spinner, mark = ("line", "ok") if console.options.ascii_only else ("dots", "✓")
    with console.status(escape(what), spinner=spinner):
        yield
    console.print(f"[green]{mark}[/] {escape(what)} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)


def _summary(version: PublishedVersion, name: str, k: int, seconds: float, dry_run: bool) -> dict[str, Any]:
    return {
        "path": str(version.path),
        "version": version.version,
        "model": name,
        "k": k,
        "min_score": version.limits.min_score,
        "thresholds": list(version.limits.thresholds),
        "threshold_fit": version.threshold_fit and asdict(version.threshold_fit),
        "signatures": [signature.key for signature in version.signatures],
        "export_id": version.export_id,
        "quality": version.quality and asdict(version.quality),
        "deviation": version.deviation and asdict(version.deviation),
        "validated_on": list(version.validated_on),
        "removed": list(version.removed),
        "warnings": [*version.warnings, *(version.server_files.notes if version.server_files else ())],
        "dry_run": dry_run,
        "seconds": round(seconds, 3),
    }
