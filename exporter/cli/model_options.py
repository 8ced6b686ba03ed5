"""The options of `export-model` about the model."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from exporter.errors import ExportError
from exporter.sources.load import SourceOptions
from signatures.contract import names

_PATH = click.Path(path_type=Path)

MODEL_OPTIONS = [
    click.option("--name", help="The name that the server uses for the model.  [default: the preset's or file's name]"),
    click.option("--labels", type=_PATH, help="File with the labels in order: one per line, or a JSON list."),
    click.option(
        "--activation",
        type=click.Choice(["sigmoid", "softmax"]),
        help="The activation to apply to the model's logits.",
    ),
    click.option(
        "--preprocessing",
        type=click.Choice(names.PREPROCESSINGS),
        help="How pixels from 0 to 255 become the model's input. Without it, the export takes no image files.",
    ),
    click.option(
        "--samples",
        type=_PATH,
        help="Samples to validate with: a folder of images, .npz, .jsonl, .tfrecord or recorded traffic.  "
        "[default: the preset's, or noise]",
    ),
    click.option(
        "--weights", default="none", show_default=True, help="For mobilenetv2 and resnet18: none, imagenet or a file."
    ),
    click.option(
        "--input-name",
        "input_names",
        multiple=True,
        metavar="OLD=NEW",
        help="Rename the model's input OLD to NEW in requests; repeatable.  [default: the model's own names]",
    ),
    click.option(
        "--endpoint",
        metavar="NAME",
        help="The signature of a SavedModel to export.  [default: serve, serving_default, or the only one]",
    ),
    click.option("--output-name", metavar="NAME", help="The output that holds the scores, if there are several."),
    click.option(
        "--also-output",
        "also_outputs",
        multiple=True,
        metavar="NAME",
        help="Another output to serve unchanged beside the probabilities; repeatable.",
    ),
    click.option(
        "--allow-unsafe", is_flag=True, help="Load a model that brings its own code: Lambda layers, a SavedModel."
    ),
    click.option(
        "--custom-objects",
        multiple=True,
        metavar="MODULE",
        help="Module that registers the model's custom layers with Keras; repeatable.",
    ),
    click.option(
        "--max-image-pixels",
        default=64_000_000,
        show_default=True,
        help="The most pixels, width times height, of an image file that is decoded.",
    ),
]


def source_options(given: Mapping[str, Any]) -> SourceOptions:
    """Return the options about the model."""
    values = {field.name: given[field.name] for field in fields(SourceOptions)}
    parsed = {"labels": _read_labels(given["labels"]), "input_names": _parse_input_names(given["input_names"])}
    return SourceOptions(**{**values, **parsed})


def _parse_input_names(pairs: Sequence[str]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for pair in pairs:
        old, equals, new = pair.partition("=")
        if not (old and equals and new):
            raise ExportError(f"--input-name is {pair!r}; use OLD=NEW, as in --input-name pixels=images.")
        if renamed.get(old, new) != new:
            raise ExportError(f"--input-name calls {old!r} both {renamed[old]!r} and {new!r}: choose one.")
        renamed[old] = new
    return renamed


def _read_labels(path: Path | None) -> tuple[str, ...]:
    if path is None:
        return ()
    try:
        text = path.read_text(encoding="utf-8-sig")
        labels = json.loads(text) if path.suffix == ".json" else text.rstrip().splitlines()
    except (OSError, ValueError) as error:
        raise ExportError(f"The labels in {path} could not be read: {error}.") from error
    if not isinstance(labels, list) or not labels or not all(isinstance(label, str) and label for label in labels):
        raise ExportError(f"{path} holds no list of labels; write one label on each line, or a JSON list of strings.")
    return tuple(labels)
