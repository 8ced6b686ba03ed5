"""How far a GPU's scores are from a CPU's float32, by precision and batch size, through Keras' JAX backend.

    python benchmarks/gpu_tolerances.py --json gpu_tolerances.json

(needs `pip install "jax[cuda12]"` beside sparsehead, and a GPU; some minutes) runs the preset `digits` and calibrated
MobileNetV2, EfficientNetV2B0 and ResNet-18 with TF32, float32, bfloat16 and float16, in batches of 1 to 256. It reports
the largest deviation, the share of changed top-k sets, near ties among them, and the tolerances that follow. This is
the same GPU arithmetic as TensorFlow's, not TensorFlow's kernels.

`--on-cpu` tries the script where there is no GPU: what it prints then says nothing about GPUs.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if find_spec("jax") is None:
    sys.exit("Error: this needs JAX, and a GPU: pip install 'jax[cuda12]'")
os.environ["KERAS_BACKEND"] = "jax"

import click
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from client.qualify.deviation import Deviations, SizeDeviation, compared, needed_tolerances
from exporter.presets.mobilenetv2 import build_mobilenetv2
from exporter.presets.resnet18 import build_resnet18
from signatures.contract.kept import ranking

PRESETS = Path(__file__).parents[1] / "exporter" / "presets"
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# By name: the precision of float32 matrix products, and what the layers below the last one compute in.
PRECISIONS = {
    "tf32": ("tensorfloat32", None),
    "float32": ("highest", None),
    "bfloat16": ("highest", "mixed_bfloat16"),
    "float16": ("highest", "mixed_float16"),
}
LABELS, K = 8, 2
NO_GPU = "JAX finds no GPU here, and without one there is nothing to measure: the tolerances of --gpu stay unmeasured."


@dataclass(frozen=True)
class Row:
    """What was found of one model, precision and batch size.

    `changed_sets` is the share of examples that have other labels among the k largest; `near_ties` is the share whose
    k-th and next scores are closer than twice the example's largest deviation, so that such a change is no fault.
    """

    model: str
    precision: str
    deviation: SizeDeviation
    changed_sets: float
    near_ties: float


def digits(side: int) -> tuple[Any, np.ndarray]:
    """Return the trained preset, and its sample images; their size is fixed."""
    from PIL import Image

    model = keras.saving.load_model(PRESETS / "digits" / "digits.keras", compile=False)
    files = sorted((PRESETS / "digits" / "samples").glob("*.png"))
    pixels = np.stack([np.asarray(Image.open(file), np.float32) for file in files])
    return model, (pixels / 255).reshape(len(files), *model.input_shape[1:])


def calibrated(build: Callable[[int], Any]) -> Callable[[int], tuple[Any, np.ndarray]]:
    """Return what builds an untrained model whose scores differ between images, and images: without it all are 0.5."""

    def make(side: int) -> tuple[Any, np.ndarray]:
        keras.utils.set_random_seed(0)
        model, random = build(side), np.random.default_rng(0)
        # Coarse pictures: networks average fine noise away.
        coarse = random.uniform(-1, 1, (64, 8, 8, 3)).astype(np.float32)
        images = np.asarray(keras.ops.image.resize(coarse, (side, side), interpolation="bilinear"))
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.momentum = 0.0
        model(images[:16], training=True)
        head = model.layers[-1]
        features = keras.Model(model.input, head.input)(images, training=False)
        logits = np.asarray(features) @ np.asarray(head.kernel)
        scale = 2 / logits.std()
        head.kernel.assign(head.kernel * scale)
        head.bias.assign(-scale * logits.mean(axis=0))
        return model, images

    return make


def build_efficientnet(side: int) -> Any:
    """Return an untrained EfficientNetV2B0 with the same head as MobileNetV2's."""
    images = keras.Input((side, side, 3), name="images")
    backbone = keras.applications.EfficientNetV2B0(
        include_top=False, weights=None, input_tensor=images, pooling="avg", include_preprocessing=False
    )
    return keras.Model(images, keras.layers.Dense(LABELS, activation="sigmoid")(backbone.output))


MODELS = {
    "digits": digits,
    "mobilenetv2": calibrated(lambda side: build_mobilenetv2(labels=LABELS, image_size=side)),
    "efficientnetv2b0": calibrated(build_efficientnet),
    "resnet18": calibrated(lambda side: build_resnet18(labels=LABELS, image_size=side)),
}


def scores_on(device: Any, model: Any, precision: str, policy: str | None) -> Callable[[np.ndarray], np.ndarray]:
    """Return what computes the scores of images on a device. The last layer stays float32, as in an export."""
    import jax

    for layer in model.layers[:-1]:
        layer.dtype_policy = keras.DTypePolicy(policy or "float32")
    put = [
        [jax.device_put(variable.value, device) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]
    # A function of its own, so that no trace of another precision is used again.
    run = jax.jit(lambda trained, other, images: model.stateless_call(trained, other, images, training=False)[0])

    def scores(images: np.ndarray) -> np.ndarray:
        with jax.default_matmul_precision(precision), jax.default_device(device):
            return np.asarray(run(*put, jax.device_put(images, device)), np.float32)

    return scores


def in_batches(scores: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int) -> np.ndarray:
    """Return the scores of images, sent in batches of a size; the first images again fill the last batch."""
    several = -(-len(images) // size) * size
    filled = images[np.arange(several) % len(images)]
    return np.concatenate([scores(filled[start : start + size]) for start in range(0, several, size)])


def rows_of(name: str, device: Any, host: Any, side: int, precisions: Sequence[str], largest: int) -> Iterator[Row]:
    """Yield the rows of one model."""
    model, images = MODELS[name](side)
    golden = in_batches(scores_on(host, model, "highest", None), images, min(32, len(images)))[: len(images)]
    for precision in precisions:
        scores = scores_on(device, model, *PRECISIONS[precision])
        alone = in_batches(scores, images, 1)
        for size in (size for size in SIZES if size <= largest):
            served = in_batches(scores, images, size)
            again = np.arange(len(served)) % len(images)
            yield row(name, precision, size, golden[again], served, alone[again])


def row(name: str, precision: str, size: int, golden: np.ndarray, served: np.ndarray, alone: np.ndarray) -> Row:
    """Compare the scores of one batch size with the CPU's."""
    orders = [ranking(scores) for scores in golden]
    changed = [set(order[:K]) != set(ranking(have)[:K]) for order, have in zip(orders, served, strict=True)]
    gaps = np.array([scores[order[K - 1]] - scores[order[K]] for order, scores in zip(orders, golden, strict=True)])
    near = gaps < 2 * np.abs(served - golden).max(axis=1)
    return Row(name, precision, compared(size, golden, served, alone), float(np.mean(changed)), float(near.mean()))


def needed(rows: Sequence[Row], precision: str) -> dict[str, Any] | None:
    """Return the tolerances that the deviations of one precision need, None if they are too far off."""
    sizes = tuple(row.deviation for row in rows if row.precision == precision)
    found = needed_tolerances(Deviations(sizes=sizes, refused=""))
    return None if found is None else asdict(found)


def show(rows: Sequence[Row], tolerances: dict[str, Any]) -> None:
    """Print a row for each model and precision, over all batch sizes, and the tolerances."""
    table = Table("model", "precision", "largest", "between sizes", "changed sets", "near ties")
    for model, precision in dict.fromkeys((row.model, row.precision) for row in rows):
        those = [row for row in rows if (row.model, row.precision) == (model, precision)]
        table.add_row(
            model,
            precision,
            f"{max(row.deviation.largest for row in those):.2g}",
            f"{max(row.deviation.between for row in those):.2g}",
            f"{max(row.changed_sets for row in those):.3f}",
            f"{max(row.near_ties for row in those):.3f}",
        )
    console = Console()
    console.print(table)
    for precision, found in tolerances.items():
        console.print(f"{precision} needs {'more than any tolerance' if found is None else found}")


@click.command()
@click.option("--model", "models", multiple=True, type=click.Choice(list(MODELS)), help="Only these.")
@click.option("--precision", "precisions", multiple=True, type=click.Choice(list(PRECISIONS)), help="Only these.")
@click.option("--image-size", type=click.IntRange(min=65), default=224, show_default=True)
@click.option("--largest-batch", type=click.IntRange(min=1), default=SIZES[-1], show_default=True)
@click.option("--on-cpu", is_flag=True, help="Try the script without a GPU.")
@click.option("--json", "file", type=click.Path(path_type=Path), help="Where to write the rows.")
def main(
    models: tuple[str, ...],
    precisions: tuple[str, ...],
    image_size: int,
    largest_batch: int,
    on_cpu: bool,
    file: Path | None,
) -> None:
    """Compare a GPU's scores with the CPU's float32."""
    import jax

    host = jax.devices("cpu")[0]
    found = [device for device in jax.devices() if device.platform == "gpu"]
    if not found and not on_cpu:
        raise click.ClickException(NO_GPU)
    device = host if on_cpu else found[0]
    rows = []
    for name in models or MODELS:
        print(f"{name} on {device.device_kind} ...", file=sys.stderr)
        rows += rows_of(name, device, host, image_size, precisions or tuple(PRECISIONS), largest_batch)
    tolerances = {precision: needed(rows, precision) for precision in dict.fromkeys(row.precision for row in rows)}
    show(rows, tolerances)
    if on_cpu:
        print("Nothing of this was computed on a GPU.")
    if file is not None:
        stated = {
            "device": device.device_kind,
            "on_gpu": device.platform == "gpu",
            "jax": jax.__version__,
            "keras": keras.__version__,
            "image_size": image_size,
            "tolerances": tolerances,
            "rows": [asdict(row) for row in rows],
        }
        file.write_text(json.dumps(stated, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
