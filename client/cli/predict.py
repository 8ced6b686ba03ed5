"""`serving-client predict`."""

import sys
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from client.cli import show
from client.cli.connection import ConnectedCommand, Connection
from client.cli.options import as_json_option, show_or_print, version_options
from client.cli.samples import golden_path, sample_arguments, samples_for
from client.client import ServingClient
from client.rpc.metadata import Metadata, Target
from client.samples.golden import Sample
from client.samples.images import image_size
from client.samples.stacking import inputs_of
from signatures.contract import names
from signatures.contract.kept import ranking


@click.command(cls=ConnectedCommand)
@sample_arguments
@click.option("--k", type=int, help="How many labels to keep; the export's default where it is left out.")
@click.option("--min-score", type=float, help="The lowest score to keep; the export's default where it is left out.")
@version_options
@as_json_option
@click.pass_obj
def predict(
    connection: Connection,
    samples: tuple[Path, ...],
    golden: Path | None,
    k: int | None,
    min_score: float | None,
    version: int | None,
    label: str | None,
    as_json: bool,
) -> None:
    """Show the labels that the model keeps for SAMPLES, and their scores.

    SAMPLES are images, folders of images, .npz files, JSON lines (.jsonl, or - for standard input), TFRecord files of
    tf.Examples or recorded requests, and version directories, whose golden records are sent.
    """
    paths = [*samples, *([] if golden is None else [golden_path(golden)])]
    if not paths:
        raise click.UsageError("give SAMPLES to predict, or --golden PATH.")
    with connection.open() as client:
        predictions = _predictions(client, paths, k, min_score, Target(client.model, version, label))
    show_or_print({"model": client.model, "predictions": predictions}, as_json, lambda: show.predictions(predictions))


def _predictions(
    client: ServingClient, paths: list[Path], k: int | None, min_score: float | None, target: Target
) -> list[dict[str, Any]]:
    metadata = client.metadata(version=target.version, label=target.label)
    labels: tuple[str, ...] = ()
    found = []
    for sample in samples_for(client, target, paths):
        # A source that is a whole file is an image: other sources name a line, a row or a record.
        image = Path(sample.source) if Path(sample.source).is_file() else None
        signature = _signature(metadata, sample)
        if image is not None and signature != names.ENCODED_IMAGES_TOP_K:
            _note_resizing(image, sample)
        inputs = inputs_of([sample], metadata.signature(signature))
        answer = client.predict(inputs, k, signature, min_score=min_score, version=target.version, label=target.label)
        if signature == names.SERVING_DEFAULT:
            labels = labels or client.info(version=target.version, label=target.label).labels
            kept = _kept_of_vector(answer[names.PROBABILITIES][0], labels)
        else:
            kept = _kept(answer[names.INDICES][0], answer[names.LABELS][0], answer[names.SCORES][0])
        shown = {"sample": sample.title} if image is None else {"picture": sample.source, "sample": sample.title}
        found.append({**shown, "source": sample.source, "signature": signature, "kept": kept})
    return found


def _signature(metadata: Metadata, sample: Sample) -> str:
    """Return the signature to call: the one that lists the kept labels, if it was exported."""
    if sample.file is not None and names.ENCODED_IMAGES_TOP_K in metadata.signatures:
        return names.ENCODED_IMAGES_TOP_K
    return names.TOP_K if names.TOP_K in metadata.signatures else names.SERVING_DEFAULT


def _note_resizing(image: Path, sample: Sample) -> None:
    height, width = next(iter(sample.inputs.values())).shape[1:3]
    if image_size(image) != (width, height):
        print(f"{image} was resized to {width}x{height}", file=sys.stderr)


def _kept(indices: Any, labels: Any, scores: Any) -> list[dict[str, Any]]:
    return [
        {"index": int(index), "label": label.decode(errors="backslashreplace"), "score": float(score)}
        for index, label, score in zip(indices, labels, scores, strict=True)
        if index != names.NO_INDEX
    ]


def _kept_of_vector(probabilities: NDArray[np.float32], labels: tuple[str, ...]) -> list[dict[str, Any]]:
    kept = [index for index in ranking(probabilities).tolist() if probabilities[index] != 0]
    return [{"index": index, "label": labels[index], "score": float(probabilities[index])} for index in kept]
