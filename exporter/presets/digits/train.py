"""Make everything this preset ships: `python -m exporter.presets.digits.train` (needs the extras `export` and `dev`).

It writes, beside this file, the trained model `digits.keras`, `labels.txt`, the held-out sample images with their
labels (`samples/`), and measurements on held-out images (`metrics.json`).

A second run reproduces the images, and so the samples, to the bit on any machine. It reproduces the weights to the bit
on the same kind of machine, with the same versions of TensorFlow and Keras and the same number of threads. Elsewhere,
sums are rounded in another order, and training ends with other weights and other numbers in `metrics.json`.
`digits.keras` also holds the date it was saved, so compare weights, not files.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from sklearn.metrics import accuracy_score, f1_score

from exporter.presets.digits.images import LABELS, SIDE, ComposedImages, compose, load_scans

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent
THRESHOLD = 0.5
CAP = 2

TRAINING_IMAGES, TRAINING_SEED = 40_000, 1
MEASURED_IMAGES, MEASURED_SEED = 4_000, 2
# Chosen, by the labels alone, so that the few images show every digit about equally often.
SAMPLE_IMAGES, SAMPLE_SEED = 32, 17

EPOCHS = 2
BATCH_SIZE = 64
LEARNING_RATE = 5e-3


def build_model() -> keras.Model:
    """Return the untrained network: `images` float32 [B, 32, 32, 1] in 0..1 to `probabilities` float32 [B, 8].

    A digit may be anywhere in the image, so the last feature map is reduced to its maximum over all places.
    """
    images = keras.Input((SIDE, SIDE, 1), name="images")
    features = images
    for filters, halve in ((16, True), (32, True), (64, False), (48, False)):
        features = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(features)
        features = keras.layers.BatchNormalization()(features)
        features = keras.layers.ReLU()(features)
        if halve:
            features = keras.layers.MaxPooling2D()(features)
    features = keras.layers.GlobalMaxPooling2D()(features)
    probabilities = keras.layers.Dense(len(LABELS), activation="sigmoid", name="probabilities")(features)
    return keras.Model(images, probabilities, name="digits")


def unit(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Turn uint8 pixels into what the model takes: float32 in 0..1 (the preprocessing "unit")."""
    return pixels.astype(np.float32) / np.float32(255)


def fit(model: keras.Model, images: ComposedImages, after_step: "Callable[[float], None]") -> None:
    """Train `model` in place; call `after_step` with the running mean of the loss after each step."""
    steps = EPOCHS * -(-len(images.pixels) // BATCH_SIZE)
    # A second model over the same layers, so that the first is saved without the optimizer's state.
    trainer = keras.Model(model.inputs, model.outputs)
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)
    trainer.compile(keras.optimizers.Adam(schedule), "binary_crossentropy")
    trainer.fit(
        unit(images.pixels),
        images.labels.astype(np.float32),
        batch_size=BATCH_SIZE,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: after_step(logs["loss"]))],
    )


def keep_largest(scores: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.float32]:
    """Return scores [P, N] with all but the k largest of each row set to zero; ties keep the lower index."""
    kept = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    sparse = np.zeros_like(scores)
    np.put_along_axis(sparse, kept, np.take_along_axis(scores, kept, axis=1), axis=1)
    return sparse


def measure(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.uint8]) -> dict[str, float]:
    """Measure scores [P, N], which predict a label from THRESHOLD on, against labels [P, N].

    Returns:
        `exact_match`, the share of images with all N labels right, and the F1 over all decisions (`f1_micro`) and
        averaged over the labels (`f1_macro`).
    """
    called = (scores >= THRESHOLD).astype(np.uint8)
    return {
        "exact_match": round(float(accuracy_score(labels, called)), 5),
        "f1_micro": round(float(f1_score(labels, called, average="micro")), 5),
        "f1_macro": round(float(f1_score(labels, called, average="macro")), 5),
    }


def _save_samples(images: ComposedImages, folder: Path) -> None:
    """Write the images as PNG, and `labels.json` with the names of the true labels of each file."""
    folder.mkdir(exist_ok=True)
    truth = {}
    for number, (pixels, labels) in enumerate(zip(images.pixels, images.labels, strict=True)):
        name = f"{number:02d}.png"
        Image.fromarray(pixels[:, :, 0]).save(folder / name, optimize=True)
        truth[name] = [LABELS[label] for label in np.flatnonzero(labels)]
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(labels)}" for name, labels in truth.items())
    (folder / "labels.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


def _table(metrics: dict[str, Any]) -> Table:
    table = Table("scores", "exact match", "F1 micro", "F1 macro")
    for name, measured in (("dense", metrics["dense"]), (f"k = {metrics['k']}", metrics["capped"])):
        table.add_row(name, *(f"{measured[key]:.4f}" for key in ("exact_match", "f1_micro", "f1_macro")))
    return table


def main() -> None:
    """Compose, train, measure and write the preset's files."""
    keras.utils.set_random_seed(TRAINING_SEED)
    tf.config.experimental.enable_op_determinism()
    training, held_out = load_scans()
    model = build_model()

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("composing images", total=None)
        images = compose(training, TRAINING_IMAGES, TRAINING_SEED)
        progress.update(task, description="training", total=EPOCHS * -(-TRAINING_IMAGES // BATCH_SIZE))
        started = time.perf_counter()
        fit(model, images, lambda loss: progress.update(task, advance=1, description=f"training, loss {loss:.4f}"))
        seconds = time.perf_counter() - started

    measured = compose(held_out, MEASURED_IMAGES, MEASURED_SEED)
    scores = model.predict(unit(measured.pixels), batch_size=500, verbose=0)
    metrics = {
        "parameters": model.count_params(),
        "training_images": TRAINING_IMAGES,
        "held_out_images": MEASURED_IMAGES,
        "threshold": THRESHOLD,
        "k": CAP,
        "dense": measure(scores, measured.labels),
        "capped": measure(keep_largest(scores, CAP), measured.labels),
        "images_changed_by_the_cap": int(((scores >= THRESHOLD).sum(axis=1) > CAP).sum()),
    }

    model.save(FOLDER / "digits.keras")
    (FOLDER / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    (FOLDER / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    _save_samples(compose(held_out, SAMPLE_IMAGES, SAMPLE_SEED), FOLDER / "samples")

    console = Console()
    console.print(_table(metrics))
    console.print(
        f"{MEASURED_IMAGES} held-out images, {metrics['images_changed_by_the_cap']} changed by the cap; "
        f"{metrics['parameters']} parameters trained in {seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
