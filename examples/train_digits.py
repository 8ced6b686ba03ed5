"""Train the digits network for its sparsified head, with the regularizer: `python examples/train_digits.py`.

It needs the extras `export` and `dev`, and about two minutes on two shared cores. It says what the regularizer and the
head do to held-out images, saves the model and says how to serve it.
"""

from pathlib import Path

import click
import keras
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from exporter.presets.digits.images import compose, load_scans
from exporter.presets.digits.train import (
    CAP,
    MEASURED_IMAGES,
    MEASURED_SEED,
    TRAINING_IMAGES,
    TRAINING_SEED,
    build_model,
    fit,
    keep_largest,
    measure,
    unit,
)
from signatures.regularizer import TopKMassRegularizer


@click.command()
@click.option("--weight", default=0.1, show_default=True, help="What probability outside the two largest costs.")
@click.option("--images", default=TRAINING_IMAGES, show_default=True, help="Images to train on.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("digits-regularized.keras"), show_default=True)
def main(weight: float, images: int, output: Path) -> None:
    """Train, measure on held-out images, and save for serving."""
    keras.utils.set_random_seed(TRAINING_SEED)
    training, held_out = load_scans()
    model = build_model()
    model.get_layer("probabilities").activity_regularizer = TopKMassRegularizer(k=CAP, weight=weight)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=None)
        fit(
            model,
            compose(training, images, TRAINING_SEED),
            lambda loss: progress.update(task, description=f"training, loss {loss:.4f}"),
        )

    measured = compose(held_out, MEASURED_IMAGES, MEASURED_SEED)
    dense = model.predict(unit(measured.pixels), batch_size=500, verbose=0)
    table = Table("answers", "mass outside", "exact match", "F1 micro")
    for name, scores in (("dense", dense), (f"head, k = {CAP}", keep_largest(dense, CAP))):
        outside = (scores - keep_largest(scores, CAP)).sum(axis=1).mean()
        values = measure(scores, measured.labels)
        table.add_row(name, f"{outside:.4f}", f"{values['exact_match']:.4f}", f"{values['f1_micro']:.4f}")
    Console().print(table)

    model.save(output)
    print(
        f"{output} is saved. To serve it:\n"
        f"  export-model {output} --k {CAP} --preprocessing unit --output models\n"
        f"  serve-model --model_name={output.stem} --model_base_path=$PWD/models/{output.stem} --port=8500\n"
        f"  serving-client --address localhost:8500 --model {output.stem} check --golden models/{output.stem}/1"
    )


if __name__ == "__main__":
    main()
