"""Our client against the libraries that people would use instead, each in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.processes import process_cost
from benchmarks.ratios import Turn
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Client"
ABOUT = (
    "Importing is a whole process, `python -c 'import ...'`. *Encoding* makes the bytes of a request with 32 "
    "images of 224x224x3; *decoding* reads an answer with 20,000 scores for each of 32 examples. *A call* sends "
    "one image of the preset `digits` to the stand-in, and the server's time is part of it. *A bare stub* sends "
    "prebuilt bytes and reads nothing; *one copy* is `ndarray.tobytes`."
)
ROOT = Path(__file__).parents[2]
CLIENTS = Path(__file__).parents[1] / "clients"
# `make bench` makes an environment for each of the libraries that cannot live beside TensorFlow.
ENVIRONMENTS = ROOT / ".venv-clients"
OURS, API, MIN, TRITON = "sparsehead", "tensorflow-serving-api", "min-tfs-client", "tritonclient"
STUB, COPY, UNVALIDATED = "a bare stub", "one copy", "sparsehead, validate=False"
SCRIPTS = {OURS: "ours", API: "serving_api", MIN: "min_tfs", TRITON: "triton", STUB: "bare", COPY: "bare"}
IMPORTS = {
    OURS: "import client",
    API: "from tensorflow_serving.apis import predict_pb2",
    MIN: "import min_tfs_client.requests",
    TRITON: "import tritonclient.grpc",
}
PACKAGES = ("signatures", "exporter", "client", "server")
WORKS = {"encode": (OURS, API, TRITON, COPY), "decode": (OURS, API)}


def interpreters(run: Run) -> dict[str, str]:
    """Return the Python that has each library, and note which are not there."""
    found = {OURS: sys.executable, API: sys.executable, STUB: sys.executable, COPY: sys.executable}
    for name in (MIN, TRITON):
        python = ENVIRONMENTS / name / "bin" / "python"
        if python.exists() and not subprocess.run([python, "-c", IMPORTS[name]], capture_output=True).returncode:
            found[name] = str(python)
        else:
            run.note(f"{name} is not installed here, so its rows are missing: `make bench` installs it beside `.venv`.")
    return found


def measure(run: Run, folder: Path) -> None:
    """Measure importing, size, encoding, decoding and calls."""
    pythons = interpreters(run)
    if run.wants("import"):
        turns = {name: _import(pythons[name], program) for name, program in IMPORTS.items() if name in pythons}
        for turn in turns.values():
            turn()
        run.compare("import", turns, {"wall time": "s", "peak memory": "MB"}, pairs=7, seconds=40)
    if run.wants("installed size"):
        _compare_sizes(run, pythons)
    wanted = [work for work in ("encode", "decode", "call") if run.wants(work)]
    if not wanted:
        return
    (folder / "answer").write_bytes(_large_answer())
    with ExitStack() as stack:
        address = stack.enter_context(_digits(folder)) if "call" in wanted else "localhost:1"
        workers = {
            name: stack.enter_context(_worker(python, SCRIPTS[name], address, folder / "answer"))
            for name, python in pythons.items()
        }
        for work in wanted:
            if work == "call":
                _compare_calls(run, workers)
            else:
                turns = {name: _ask(workers[name], work) for name in WORKS[work] if name in workers}
                run.compare(work, turns, pairs=20, seconds=15)
                if MIN in workers:
                    # It takes seconds a turn, and so is given turns of its own.
                    turns = {name: _ask(workers[name], work) for name in (OURS, MIN)}
                    run.compare(work, turns, pairs=5)


def _import(python: str, program: str) -> Turn:
    return lambda: process_cost([python, "-c", program])


def _compare_sizes(run: Run, pythons: Mapping[str, str]) -> None:
    sizes = {}
    for name in IMPORTS:
        if name in pythons:
            folders = [str(ROOT / package) for package in PACKAGES] if name == OURS else []
            command = [pythons[name], str(CLIENTS / "size.py"), name, *folders]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            sizes[name] = {"size": int(done.stdout) / 1e6}
    ours = sizes.pop(OURS)
    for name, size in sizes.items():
        run.add("installed size", "size", "MB", (OURS, [ours]), (name, [size]))


def _compare_calls(run: Run, workers: Mapping[str, "subprocess.Popen[str]"]) -> None:
    turns = {name: _ask(workers[name], "call") for name in (OURS, STUB, API, MIN) if name in workers}
    turns[UNVALIDATED] = _ask(workers[OURS], "call unvalidated")
    sides = [(OURS, name) for name in (STUB, API, MIN) if name in turns]
    run.compare("call", turns, sides=[*sides, (UNVALIDATED, STUB)], pairs=100, seconds=20)


def _large_answer() -> bytes:
    import numpy as np

    from client.rpc.messages import PredictResponse

    response = PredictResponse()
    tensor = response.outputs["probabilities"]
    tensor.dtype = 1
    for size in (32, 20_000):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.extend(np.random.default_rng(0).random(32 * 20_000, np.float32).tolist())
    content: bytes = response.SerializeToString()
    return content


@contextmanager
def _digits(folder: Path) -> Iterator[str]:
    from benchmarks.servers import serving

    program = (
        "import sys, pathlib; from benchmarks import models; "
        "models.publish(models.load_classifier('digits'), pathlib.Path(sys.argv[1]), 2)"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(folder)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=-3
    )
    with serving([folder / "digits"]) as server:
        yield server.address


@contextmanager
def _worker(python: str, script: str, address: str, answer: Path) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [python, str(CLIENTS / f"{script}.py"), address, str(answer)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _ask(worker: "subprocess.Popen[str]", work: str) -> Turn:
    def turn() -> dict[str, float]:
        assert worker.stdin
        assert worker.stdout
        worker.stdin.write(f"{work}\n")
        worker.stdin.flush()
        line = worker.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that measures {work} ended")
        return {"time": float(line)}

    return turn


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    imported = found(rows, case="import", against=API, measure="wall time")
    encoded, called = (found(rows, case=case, against=API) for case in ("encode", "call"))
    return (
        f"Compared with tensorflow-serving-api, importing our client takes {times(imported)} the time, encoding "
        f"{times(encoded)} the time, and a call {times(called)} the time."
    )
