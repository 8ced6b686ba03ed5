"""What an export costs against Keras's and TensorFlow's own, each a process from its start to its end."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import process_cost
from benchmarks.ratios import Measured, Turn
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Export"
ABOUT = (
    "Whole processes that load a model from its file and export it: `export-model` with every signature, golden "
    "records, all validations and warm-up; `keras.Model.export` and `tf.saved_model.save` with one signature and "
    "none of these. The peak is the most memory that the process ever held."
)
OURS, KERAS, TENSORFLOW = "export-model", "keras.Model.export", "tf.saved_model.save"
HELP, IMPORT = "export-model --help", "import tensorflow"
MEASURES = {"wall time": "s", "peak memory": "MB", "on disk": "MB"}
_EXPORT_MODEL = (sys.executable, "-c", "from exporter.cli import main; main()")
_PROGRAMS = {
    KERAS: "import sys, keras; keras.models.load_model(sys.argv[1]).export(sys.argv[2], verbose=False)",
    TENSORFLOW: (
        "import sys, keras, tensorflow as tf; tf.saved_model.save(keras.models.load_model(sys.argv[1]), sys.argv[2])"
    ),
}


@dataclass(frozen=True)
class Subject:
    """A model to export: what writes its file, and the options of `export-model`."""

    parameters: int
    write: Callable[[Path], None]
    options: Sequence[str]


def write_digits(file: Path) -> None:
    """Copy the preset's file."""
    from exporter import presets

    shutil.copy(Path(presets.__path__[0], "digits", "digits.keras"), file)


def write_mobilenetv2(file: Path) -> None:
    """Save MobileNetV2 with random weights."""
    from benchmarks.models import mobilenetv2

    mobilenetv2().model.save(file)


def write_wide(file: Path) -> None:
    """Save a network of wide layers."""
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(units, "relu") for units in (4096, 4096)]
    keras.Sequential([keras.Input((1024,)), *layers, keras.layers.Dense(1000, "sigmoid")]).save(file)


SUBJECTS = {
    "50 thousand parameters": Subject(51_864, write_digits, ("--k=2", "--preprocessing=unit")),
    "2 million parameters": Subject(2_268_232, write_mobilenetv2, ("--k=6", "--preprocessing=tf")),
    "25 million parameters": Subject(25_080_808, write_wide, ("--k=5",)),
}


def measure(run: Run, folder: Path) -> None:
    """Export each model in turns."""
    for case, subject in SUBJECTS.items():
        if not run.wants(case):
            continue
        file = folder / "model.keras"
        subject.write(file)
        command = [*_EXPORT_MODEL, str(file), *subject.options, f"--output={folder / 'out'}"]
        turns = {OURS: _turn(command, folder / "out")}
        for name, program in _PROGRAMS.items():
            turns[name] = _turn([sys.executable, "-c", program, str(file), str(folder / "out")], folder / "out")
        # What the first process reads from disk stays in the machine's memory for the others.
        turns[KERAS]()
        at = {"parameters": subject.parameters}
        run.compare(case, turns, MEASURES, at, pairs=5)
    if run.wants("help"):
        turns = {HELP: _process([*_EXPORT_MODEL, "--help"]), IMPORT: _process([sys.executable, "-c", IMPORT])}
        run.compare("help", turns, {"wall time": "s"}, pairs=5)


def _process(command: Sequence[str]) -> Turn:
    return lambda: process_cost(command)


def _turn(command: Sequence[str], output: Path) -> Turn:
    def turn() -> Measured:
        shutil.rmtree(output, ignore_errors=True)
        measured = process_cost(command)
        return {**measured, "on disk": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 1e6}

    return turn


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    case = "2 million parameters"
    wall, peak, disk = (found(rows, case=case, against=KERAS, measure=measure) for measure in MEASURES)
    return (
        f"With its validation, exporting MobileNetV2 takes {times(wall)} the time, {times(peak)} the memory and "
        f"{times(disk)} the disk space of `keras.Model.export`."
    )
