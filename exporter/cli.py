"""`export-model`: the command over `exporter.export`."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from exporter.errors import ExportError, ProofFailedError, StoreError
from exporter.sources import SourceOptions, load_classifier
from signatures import names

if TYPE_CHECKING:
    from exporter.pipeline import PublishedVersion
    from exporter.serving import Serving

# Exit statuses, the same for every command of ours.
THE_ANSWER_IS_NO, WRONG_INPUT, OUR_ERROR = 1, 2, 4

_BATCHING = ("max_request_size", "max_batch_size", "batch_timeout_micros", "num_batch_threads", "max_enqueued_batches")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.argument("model", default="digits")
@click.option("--k", default=2, show_default=True, help="How many labels an answer keeps where a request does not say.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("models"),
    show_default=True,
    help="Directory that holds the base path of each model.",
)
@click.option("--name", help="What the server shall call the model.  [default: the preset's or file's name]")
@click.option("--activation", type=click.Choice(["sigmoid", "softmax"]), help="For a model whose outputs are logits.")
@click.option(
    "--preprocessing",
    type=click.Choice(names.PREPROCESSINGS),
    help="How pixels from 0 to 255 become the model's input. Without it, no picture files can be taken.",
)
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    help="What to prove the export with: a folder of pictures or a .npz file.  [default: the preset's, or noise]",
)
@click.option(
    "--weights", default="none", show_default=True, help="For mobilenetv2 and resnet18: none, imagenet or a file."
)
@click.option(
    "--max-image-pixels",
    default=64_000_000,
    show_default=True,
    help="Size of the largest picture file that is decoded.",
)
@click.option("--signature", "signatures", multiple=True, help="Only this signature; repeatable.  [default: all]")
@click.option(
    "--batching",
    type=click.Choice(["none", "in-graph"]),
    default="none",
    show_default=True,
    help="How requests share runs.",
)
@click.option("--max-request-size", type=int, help="Examples in one request, at most.  [default: 1024]")
@click.option("--max-batch-size", type=int, help="Examples in one run of the backbone, at most.  [default: 32]")
@click.option(
    "--allowed-batch-size", "allowed_batch_sizes", type=int, multiple=True, help="A size to pad to; repeatable."
)
@click.option("--batch-timeout-micros", type=int, help="How long a request waits for others.  [default: 2000]")
@click.option("--num-batch-threads", type=int, help="Batches that run at once.  [default: 2]")
@click.option("--max-enqueued-batches", type=int, help="Batches that wait, at most.  [default: 100]")
@click.option(
    "--precision",
    type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
    default="float32",
    show_default=True,
    help="What the backbone computes in.",
)
@click.option("--jit-compile", is_flag=True, help="Let XLA compile the backbone; the server then needs a flag for it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(model: str, k: int, output: Path, as_json: bool, **given: Any) -> None:
    """Publish MODEL with a sparsified head as the next version in OUTPUT/NAME, ready for a TensorFlow server.

    MODEL is a .keras file, or a preset: "digits" (the default), a small network that finds handwritten digits,
    "mobilenetv2" or "resnet18".
    """
    console = Console(stderr=True)
    started = time.monotonic()
    try:
        with _step(console, "Loading TensorFlow"):
            _import_tensorflow()
        from exporter.pipeline import export

        serving = _serving(given)
        with _step(console, f"Loading {model}"):
            classifier = load_classifier(model, _source_options(given))
        version = export(classifier, output, k, serving=serving, step=lambda what: _step(console, what))
    except ExportError as error:
        console.print(f"export-model: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(_status(error))
    seconds = time.monotonic() - started
    if as_json:
        print(json.dumps(_summary(version, classifier.name, k, seconds)))
    else:
        _show(version, classifier.name, output, seconds)


def _source_options(given: Mapping[str, Any]) -> SourceOptions:
    wanted = ("name", "activation", "preprocessing", "samples", "weights", "max_image_pixels")
    return SourceOptions(**{option: given[option] for option in wanted})


def _serving(given: Mapping[str, Any]) -> Serving:
    from exporter.serving import Serving
    from signatures import InGraphBatching

    said = {option: given[option] for option in (*_BATCHING, "allowed_batch_sizes") if given[option]}
    if said and given["batching"] == "none":
        raise ExportError(
            f"--{next(iter(said)).replace('_', '-')} says how to batch: pass --batching in-graph with it."
        )
    try:
        batching = None if given["batching"] == "none" else InGraphBatching(**said)
    except ValueError as error:
        raise ExportError(str(error)) from error
    return Serving(given["signatures"] or None, batching, given["precision"], given["jit_compile"])


def _status(error: ExportError) -> int:
    if isinstance(error, ProofFailedError):
        return THE_ANSWER_IS_NO
    return OUR_ERROR if isinstance(error, StoreError) else WRONG_INPUT


def _import_tensorflow() -> None:
    """Import TensorFlow without what it has to say about the machine's processor."""
    if not importlib.util.find_spec("tensorflow"):
        raise ExportError("TensorFlow is not installed: pip install 'sparsehead[export]'.")
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


def _summary(version: PublishedVersion, name: str, k: int, seconds: float) -> dict[str, Any]:
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
    console = Console()
    table = Table("signature", "inputs", "outputs", title=f"{name}, version {version.version}", title_justify="left")
    for signature in version.signatures:
        table.add_row(signature.key, _listed(signature.inputs), _listed(signature.outputs))
    console.print(table)
    base_path = output.resolve() / name
    for line in (
        f"Published {version.path} in {seconds:.1f} s. Next:",
        f"  serve-model --model_name={name} --model_base_path={base_path} --port=8500",
        f"  serving-client --address localhost:8500 --model {name} check --golden {version.path}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _listed(specs: Mapping[str, Any]) -> str:
    """Inputs or outputs, one a line: "images float32 [B, 32, 32, 1]"."""
    return "\n".join(f"{name} {spec.dtype.name} {_shape(spec.shape)}" for name, spec in specs.items())


def _shape(shape: Any) -> str:
    if shape.rank is None:
        return "scalar or \\[B]"
    sizes: Sequence[int | None] = shape.as_list()
    return "\\[" + ", ".join(("B", "K")[i > 0] if size is None else str(size) for i, size in enumerate(sizes)) + "]"
