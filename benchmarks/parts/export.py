"""What an export costs against Keras's and TensorFlow's own, each a process from its start to its end."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ratios import Measured, Turn
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Export"
ABOUT = (
    "Whole processes that load a model from its file and export it: `export-model` with every signature, golden records, "
    "all validations and warm-up; `keras.Model.export` and `tf.saved_model.save` with one signature and none of these. "
    "The peak is the most memory that the process ever held."
)
OURS, KERAS, TENSORFLOW = "export-model", "keras.Model.export", "tf.saved_model.save"
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
    """A model to export: what writes its file, in a process of its own, and the options of `export-model`."""

    parameters: int
    write: Callable[[Path], None]
    options: Sequence[str]
    pairs: int
    seconds: float


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
    "50 thousand parameters": Subject(51_864, write_digits, ("--k=2", "--preprocessing=unit"), 4, 80),
    "2 million parameters": Subject(2_268_232, write_mobilenetv2, ("--k=6", "--preprocessing=tf"), 3, 120),
    "25 million parameters": Subject(25_080_808, write_wide, ("--k=5",), 3, 120),
}


def measure(run: Run, folder: Path) -> None:
    """Export each model in turns."""
    for case, subject in SUBJECTS.items():
        if not run.wants(case):
            continue
        file = folder / "model.keras"
        # In a process of its own: what this one holds would count as the peak of every process that it starts.
        writing = multiprocessing.get_context("spawn").Process(target=subject.write, args=(file,))
        writing.start()
        writing.join()
        if writing.exitcode:
            raise RuntimeError(f"the model with {case} could not be made")
        command = [*_EXPORT_MODEL, str(file), *subject.options, f"--output={folder / 'out'}"]
        turns = {OURS: _turn(command, folder / "out")}
        for name, program in _PROGRAMS.items():
            turns[name] = _turn([sys.executable, "-c", program, str(file), str(folder / "out")], folder / "out")
        # What the first process reads from disk stays in the machine's memory for the others.
        turns[KERAS]()
        at = {"parameters": subject.parameters}
        run.compare(case, turns, MEASURES, at, pairs=subject.pairs, seconds=subject.seconds)


def _turn(command: Sequence[str], output: Path) -> Turn:
    def turn() -> Measured:
        shutil.rmtree(output, ignore_errors=True)
        measured = process_cost(command)
        return {**measured, "on disk": sum(file.stat().st_size for file in output.rglob("*") if file.is_file()) / 1e6}

    return turn


def process_cost(command: Sequence[str]) -> Measured:
    """Run a process to its end, and return its wall time in seconds and its peak memory in MB."""
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        process = subprocess.Popen(command, stdout=said, stderr=said, env=quiet)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise RuntimeError(f"a process to measure ended with status {process.returncode}: {' '.join(last)}")
    return {"wall time": seconds, "peak memory": usage.ru_maxrss / 1024}


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    case = "2 million parameters"
    wall, peak, disk = (found(rows, case=case, against=KERAS, measure=measure) for measure in MEASURES)
    return (
        f"With its validation, exporting MobileNetV2 takes {times(wall)} the time, {times(peak)} the memory and "
        f"{times(disk)} the disk of `keras.Model.export`."
    )
