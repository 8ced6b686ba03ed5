"""What training for the sparsified head does, on held-out images of the preset `digits`.

`python benchmarks/regularizer.py` (needs the extras `export` and `dev`; about two minutes a training on two shared
cores) trains the preset's network without and with `TopKMassRegularizer`, and with the head as its last layer.
"""

import json
import statistics
from dataclasses import asdict, dataclass

import click
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from exporter.presets.digits.images import ComposedImages, compose, load_scans
from exporter.presets.digits.train import (
    CAP,
    MEASURED_IMAGES,
    MEASURED_SEED,
    THRESHOLD,
    TRAINING_IMAGES,
    TRAINING_SEED,
    build_model,
    fit,
    keep_largest,
    measure,
    unit,
)
from signatures.layer import SparsifyTopK
from signatures.regularizer import TopKMassRegularizer

THROUGH_HEAD = "through the head"


@dataclass(frozen=True)
class Measured:
    """What held-out images say of one kind of training, dense or with the head on; means over the seeds.

    Attributes:
        training: "plain", THROUGH_HEAD, or the regularizer's weight.
        head: whether the head was on when it was measured.
        mass_outside: the probability outside each image's CAP largest, mean over the images.
        more_than_cap: the share of images with more than CAP labels called.
        exact_match: the share of images with all labels right.
        f1_micro: the F1 over all decisions.
        exact_match_spread: the largest less the smallest exact match of the seeds.
    """

    training: str
    head: bool
    mass_outside: float
    more_than_cap: float
    exact_match: float
    f1_micro: float
    exact_match_spread: float


def train(training: str, images: ComposedImages, seed: int, progress: Progress) -> keras.Model:
    """Train the preset's network, and return it with dense answers."""
    keras.utils.set_random_seed(seed)
    model = build_model()
    trained = model
    if training == THROUGH_HEAD:
        trained = keras.Model(model.inputs, SparsifyTopK(k=CAP)(model.outputs[0]))
    elif training != "plain":
        model.get_layer("probabilities").activity_regularizer = TopKMassRegularizer(CAP, float(training))
    task = progress.add_task(f"{training}, seed {seed}", total=None)
    fit(trained, images, lambda loss: progress.update(task, description=f"{training}, seed {seed}: loss {loss:.4f}"))
    progress.remove_task(task)
    return model


def judge(training: str, head: bool, scores: list[npt.NDArray[np.float32]], labels: npt.NDArray[np.uint8]) -> Measured:
    """Measure the dense scores [P, N] of each seed, after the head if `head`."""
    answers = [keep_largest(dense, CAP) if head else dense for dense in scores]
    measured = [measure(answer, labels) for answer in answers]
    exact = [values["exact_match"] for values in measured]
    return Measured(
        training,
        head,
        mass_outside=float(np.mean([(answer - keep_largest(answer, CAP)).sum(axis=1).mean() for answer in answers])),
        more_than_cap=float(np.mean([((answer >= THRESHOLD).sum(axis=1) > CAP).mean() for answer in answers])),
        exact_match=statistics.mean(exact),
        f1_micro=statistics.mean(values["f1_micro"] for values in measured),
        exact_match_spread=max(exact) - min(exact),
    )


def show(results: list[Measured], seeds: int) -> None:
    """Print one line a training, dense and with the head."""
    table = Table("training", "answers", "mass outside", "more than 2", "exact match", "spread", "F1 micro")
    for result in results:
        training = result.training if not result.training[0].isdigit() else f"weight {result.training}"
        table.add_row(
            training,
            f"head, k = {CAP}" if result.head else "dense",
            f"{result.mass_outside:.4f}",
            f"{result.more_than_cap:.2%}",
            f"{result.exact_match:.4f}",
            f"{result.exact_match_spread:.4f}",
            f"{result.f1_micro:.4f}",
        )
    console = Console()
    console.print(table)
    console.print(f"{MEASURED_IMAGES} held-out images; means over {seeds} trainings, spread from lowest to highest.")


@click.command()
@click.option("--weight", "weights", multiple=True, default=("0.01", "0.1", "1"), show_default=True)
@click.option("--seeds", default=2, show_default=True, help="Trainings of each kind.")
@click.option("--pictures", default=TRAINING_IMAGES, show_default=True, help="Images to train on.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(weights: tuple[str, ...], seeds: int, pictures: int, as_json: bool) -> None:
    """Train the digits network in several ways and measure each on held-out images."""
    tf.config.experimental.enable_op_determinism()
    training_scans, held_out_scans = load_scans()
    held_out = compose(held_out_scans, MEASURED_IMAGES, MEASURED_SEED)
    results = []
    with Progress(console=Console(stderr=True)) as progress:
        composed = compose(training_scans, pictures, TRAINING_SEED)
        kinds = ("plain", THROUGH_HEAD, *weights)
        total = progress.add_task("trainings", total=len(kinds) * seeds)
        for training in kinds:
            scores = []
            for seed in range(1, seeds + 1):
                model = train(training, composed, seed, progress)
                scores.append(model.predict(unit(held_out.pixels), batch_size=500, verbose=0))
                progress.advance(total)
            results += [judge(training, head, scores, held_out.labels) for head in (False, True)]
    if as_json:
        print(json.dumps({"seeds": seeds, "pictures": pictures, "results": [asdict(result) for result in results]}))
    else:
        show(results, seeds)


if __name__ == "__main__":
    main()
