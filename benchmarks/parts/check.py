"""How the time of a check grows with the labels, against the least that any comparison of golden records takes."""

from pathlib import Path
from typing import Any

from benchmarks.ratios import once, timed
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Check"
ABOUT = (
    "`serving-client check` from the first call to the verdict, without the start of its process. It asks every "
    "signature with several k and `min_score`. *One dense answer* is the least that any comparison takes: all "
    "golden inputs in one request, the whole dense answer, and `np.allclose`."
)
OURS, LEAST = "check", "one dense answer"
LABELS = (8, 1_000, 10_000, 100_000)
EFFICIENTNET = "EfficientNetV2B0"


def measure(run: Run, folder: Path) -> None:
    """Check a served model of each size."""
    for labels in LABELS:
        if run.wants(case := f"{labels:,} labels"):
            from benchmarks.models import wide

            _compare(run, case, wide(labels), {"labels": labels}, folder)
    if run.wants(EFFICIENTNET):
        _compare(run, EFFICIENTNET, _efficientnet(), {}, folder)


def _efficientnet() -> Any:
    import keras

    from benchmarks.models import calibrate
    from exporter import Classifier

    keras.utils.set_random_seed(0)
    arguments = {"weights": None, "include_preprocessing": False, "classes": 8, "classifier_activation": "sigmoid"}
    model = keras.applications.EfficientNetV2B0(**arguments)
    calibrate(model)
    return Classifier(model, "efficientnetv2b0", preprocessing="tf")


def _compare(run: Run, case: str, classifier: Any, at: dict[str, float], folder: Path) -> None:
    import numpy as np

    from benchmarks.models import publish
    from benchmarks.servers import serving
    from client import ServingClient
    from client.samples import inputs_of
    from client.samples.golden import read_golden

    base_path = publish(classifier, folder, signatures=None)
    golden = base_path / "1"
    with serving([base_path]) as server, ServingClient(server.address, classifier.name, timeout=120) as client:
        samples = read_golden(golden).samples
        expected = np.stack([sample.dense for sample in samples])
        inputs = inputs_of(samples, client.metadata().signature("serving_default"))
        every = expected.shape[1]

        def check() -> None:
            result = client.check(golden)
            assert result.passed, f"the check of {case} failed"

        def least() -> None:
            answer = client.predict(inputs, k=every)["probabilities"]
            assert np.allclose(answer, expected, rtol=1e-3, atol=1e-5)

        turns = {OURS: once(check), LEAST: timed(least)}
        run.compare(case, turns, at=at, pairs=10, seconds=15)


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    few, many = (found(rows, case=f"{labels:,} labels") for labels in (8, 100_000))
    return (
        f"A check takes {times(few)} the time of one dense answer with 8 labels, and {times(many)} that time with "
        "100,000."
    )
