"""`export-model`: the command over `exporter.export`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from exporter.errors import ExportError, ProofFailedError, StoreError

if TYPE_CHECKING:
    from exporter.pipeline import PublishedVersion

# Exit statuses, the same for every command of ours.
THE_ANSWER_IS_NO, WRONG_INPUT, OUR_ERROR = 1, 2, 4


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("model", default="digits")
@click.option("--k", default=2, show_default=True, help="How many labels an answer keeps where a request does not say.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Directory that holds the base path of each model.",
)
@click.option("--name", help="What the server shall call the model.  [default: the preset's or file's name]")
@click.option("--activation", type=click.Choice(["sigmoid", "softmax"]), help="For a model whose outputs are logits.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(model: str, k: int, output: Path, name: str | None, activation: str | None, as_json: bool) -> None:
    """Publish MODEL with a sparsified head as the next version in OUTPUT/NAME, ready for a TensorFlow server.

    MODEL is a .keras file, or the preset "digits" (the default): a small network that finds handwritten digits.
    """
    console = Console(stderr=True)
    started = time.monotonic()
    if not importlib.util.find_spec("tensorflow"):
        console.print("export-model needs TensorFlow: pip install 'sparsehead\\[export]'", style="red")
        sys.exit(WRONG_INPUT)
    try:
        with _step(console, "Loading TensorFlow"):
            _import_quietly()
        from exporter.pipeline import export
        from exporter.sources import load_classifier

        with _step(console, f"Loading {model}"):
            classifier = load_classifier(model, name, activation)
        version = export(classifier, output, k, step=lambda what: _step(console, what))
    except ExportError as error:
        console.print(f"Error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(
            THE_ANSWER_IS_NO
            if isinstance(error, ProofFailedError)
            else OUR_ERROR
            if isinstance(error, StoreError)
            else WRONG_INPUT
        )
    seconds = time.monotonic() - started
    if as_json:
        print(json.dumps(_summary(version, classifier.name, k, seconds)))
    else:
        _show(version, classifier.name, output, seconds)


def _import_quietly() -> None:
    """Import TensorFlow without what it has to say about the machine's processor."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    # Loading as a server does takes an API that Python users are told to leave.
    tf.get_logger().setLevel(logging.ERROR)


@contextmanager
def _step(console: Console, what: str) -> Iterator[None]:
    """Show a step while it is taken, and then how long it took."""
    started = time.monotonic()
    with console.status(what):
        yield
    console.print(f"[green]✓[/] {what} [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)


def _summary(version: PublishedVersion, name: str, k: int, seconds: float) -> dict[str, object]:
    return {
        "path": str(version.path),
        "version": version.version,
        "model": name,
        "k": k,
        "signatures": [signature.key for signature in version.signatures],
        "export_id": version.export_id,
        "seconds": round(seconds, 3),
    }


def _show(version: PublishedVersion, name: str, output: Path, seconds: float) -> None:
    table = Table("signature", "inputs", "outputs", title=f"{name}, version {version.version}", title_justify="left")
    for signature in version.signatures:
        table.add_row(signature.key, _listed(signature.inputs), _listed(signature.outputs))
    console = Console()
    console.print(table)
    console.print(f"Published [bold]{version.path}[/] in {seconds:.1f} s. Next:", highlight=False)
    base_path = output.resolve() / name
    console.print(
        f"  serve-model --model_name={name} --model_base_path={base_path} --port=8500\n"
        f"  serving-client --address localhost:8500 --model {name} check --golden {version.path}",
        highlight=False,
        soft_wrap=True,
    )


def _listed(specs: object) -> str:
    """Inputs or outputs, one a line: "images float32 [B, 32, 32, 1]"."""
    from collections.abc import Mapping

    assert isinstance(specs, Mapping)
    lines = []
    for name, spec in specs.items():
        shape = "scalar or [B]"
        if spec.shape.rank is not None:
            shape = "[" + ", ".join(("B" if i == 0 else "K") if n is None else str(n) for i, n in enumerate(spec.shape)) + "]"
        lines.append(f"{name} {spec.dtype.name} {shape}")
    return "\n".join(lines).replace("[", "\\[")
