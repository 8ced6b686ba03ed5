"""What an export costs against `keras.Model.export`: `python benchmarks/export_cost.py`.

MobileNetV2 in its published size, its batch normalization calibrated so that comparing answers means something, is
exported by either, each time in a fresh process that loads the model from its file: ours with every signature, golden
records, all validations and warm-up up to a batch of 4; Keras's with its one signature and none of these. The processes
take turns, in pairs; a row is the median ratio of a pair, with a 95% bootstrap interval.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

EXPORT_MODEL = str(Path(sys.executable).with_name("export-model"))
KERAS_EXPORT = "import sys, keras; keras.models.load_model(sys.argv[1]).export(sys.argv[2], verbose=False)"
QUIET = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}


@dataclass(frozen=True)
class Cost:
    """What a whole process took: wall time, processor time, and the most memory it ever held."""

    seconds: float
    cpu_seconds: float
    megabytes: float


@dataclass(frozen=True)
class Ratio:
    """The median ratio of a pair with its 95% interval, and the median of either side."""

    name: str
    median: float
    low: float
    high: float
    ours: float
    other: float
    unit: str
    target: float | None


def write_calibrated_model(file: Path, weights: Path) -> None:
    """Save an untrained MobileNetV2 whose scores differ between images, and write down the bytes of its weights.

    As it comes it answers 0.5 to everything.
    """
    import keras
    import tensorflow as tf

    from exporter.presets.mobilenetv2 import build_mobilenetv2

    keras.utils.set_random_seed(0)
    model = build_mobilenetv2()
    images = np.random.default_rng(0).uniform(-1, 1, (6, 224, 224, 3)).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    head = model.layers[-1]
    logits = tf.matmul(keras.Model(model.input, head.input)(images, training=False), head.kernel)
    scale = 2 / tf.math.reduce_std(logits)
    head.kernel.assign(head.kernel * scale)
    head.bias.assign(-scale * tf.reduce_mean(logits, axis=0))
    assert model(images).numpy().std() > 0.1
    model.save(file)
    weights.write_text(str(sum(v.value.dtype.size * int(np.prod(v.shape)) for v in model.variables)))


def run(command: Sequence[str]) -> Cost:
    """Run a process to its end and say what it took."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=said, stderr=said, env=QUIET)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise click.ClickException(f"{' '.join(command)} failed: {said.read().decode()}")
    return Cost(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def compare(name: str, ours: Callable[[], Cost], other: Callable[[], Cost], pairs: int, console: Console) -> np.ndarray:
    """Run both in pairs, taking turns in going first: [pairs, 2, 3], the three figures of Cost."""
    costs = []
    for pair in track(range(pairs), name, console=console, transient=True):
        taken = [Cost(0, 0, 0)] * 2
        for side in (0, 1) if pair % 2 else (1, 0):
            taken[side] = (ours, other)[side]()
        costs.append([[cost.seconds, cost.cpu_seconds, cost.megabytes] for cost in taken])
    return np.array(costs)


def ratio(name: str, costs: np.ndarray, figure: int, target: float | None) -> Ratio:
    ours, other = costs[:, 0, figure], costs[:, 1, figure]
    ratios = ours / other
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    unit = ("s", "s", "MB")[figure]
    return Ratio(
        name, *map(float, (np.median(ratios), low, high, np.median(ours), np.median(other))), unit=unit, target=target
    )


def measure(directory: Path, pairs: int, console: Console) -> list[Ratio]:
    model, output, exported = directory / "mobilenetv2.keras", directory / "models", directory / "exported"
    with console.status("Calibrating MobileNetV2"):
        # In a process of its own: what this one holds would count as the peak of every process that it starts.
        calibration = multiprocessing.get_context("spawn").Process(
            target=write_calibrated_model, args=(model, directory / "weights")
        )
        calibration.start()
        calibration.join()
        weights = int((directory / "weights").read_text())

    def export_with_keras() -> Cost:
        shutil.rmtree(exported, ignore_errors=True)
        return run([sys.executable, "-c", KERAS_EXPORT, str(model), str(exported)])

    def export_model(*options: str) -> Cost:
        shutil.rmtree(output, ignore_errors=True)
        return run([EXPORT_MODEL, str(model), "--k=6", "--preprocessing=tf", f"--output={output}", *options])

    export_model()  # What the first process reads from disk stays in the machine's memory for the others.
    export_with_keras()
    variables = sum(file.stat().st_size for file in (output / "mobilenetv2" / "1" / "variables").iterdir())
    costs = compare("export-model, Model.export", export_model, export_with_keras, pairs, console)
    to_32 = compare(
        "the same, warm-up up to 32",
        lambda: export_model("--batching=in-graph", "--max-batch-size=32"),
        export_with_keras,
        max(1, pairs // 3),
        console,
    )
    start = compare(
        "export-model --help, import tensorflow",
        lambda: run([EXPORT_MODEL, "--help"]),
        lambda: run([sys.executable, "-c", "import tensorflow"]),
        pairs,
        console,
    )
    return [
        ratio("export, wall time", costs, 0, 2.0),
        ratio("export, processor time", costs, 1, None),
        ratio("export, peak memory", costs, 2, 1.6),
        ratio("export with warm-up up to 32, wall time", to_32, 0, None),
        ratio("export with warm-up up to 32, peak memory", to_32, 2, None),
        Ratio("variables on disk over weights", *[variables / weights] * 3, variables / 1e6, weights / 1e6, "MB", 1.01),
        ratio("--help over import tensorflow, wall time", start, 0, 0.2),
    ]


def show(ratios: list[Ratio]) -> None:
    table = Table("compared", "ratio", "95% interval", "target", "ours / other")
    for each in ratios:
        if each.target is None:
            target = "none"
        else:
            target = f"<= {each.target:g} " + ("[green]met[/]" if each.median <= each.target else "[red]missed[/]")
        table.add_row(
            each.name,
            f"{each.median:.3f}",
            f"{each.low:.3f} to {each.high:.3f}",
            target,
            f"{each.ours:.2f} / {each.other:.2f} {each.unit}",
        )
    Console().print(table)


@click.command()
@click.option("--pairs", default=7, show_default=True, help="Pairs of processes of each comparison.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(pairs: int, as_json: bool) -> None:
    """Measure what an export costs against Keras's own."""
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory() as directory:
        ratios = measure(Path(directory), pairs, console)
    if as_json:
        print(json.dumps({"pairs": pairs, "ratios": [asdict(each) for each in ratios]}))
    else:
        show(ratios)


if __name__ == "__main__":
    main()
