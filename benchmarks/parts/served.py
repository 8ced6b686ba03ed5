"""What a client sees: the answer of a served model with the head, against the dense answer of the same model."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.ratios import Turn, timed
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "Served cost"
ABOUT = (
    "One client asks a server for one answer at a time over gRPC, with the decoding of the answer: the dense "
    "answer of the model as Keras exports it, the sparsified one (`serving_default`, k = 5), and the compact one "
    "(`top_k`). The server is the stand-in, or the program that `MODEL_SERVER` names. For a server that runs "
    "elsewhere, let it serve what `python -m benchmarks models FOLDER` writes and add `--address HOST:PORT`."
)
DENSE, SPARSE, COMPACT = "dense", "sparsified", "compact"
BATCHES = {"digits": (1, 32), "mobilenetv2": (1, 8), "labels_20000": (1, 32)}
K = 5


def measure(run: Run, folder: Path) -> None:
    """Ask for the three kinds of answer in turns, and compare their times and sizes."""
    wanted = [(name, batch) for name, batches in BATCHES.items() for batch in batches if run.wants(_case(name, batch))]
    if not wanted:
        return
    from benchmarks import models
    from benchmarks.servers import serving

    classifiers = {one.name: one for one in models.served_models() if one.name in dict(wanted)}
    base_paths = [] if run.address else write(list(classifiers.values()), folder)
    with nullcontext() if run.address else serving(base_paths) as server:
        address = run.address or server.address
        for name, batch in wanted:
            inputs = {key: models.images_for(classifiers[name], batch) for key in classifiers[name].inputs.specs}
            _compare(run, address, name, batch, inputs)


def write(classifiers: list[Any], folder: Path) -> list[Path]:
    """Export each model by us and by Keras, and return the base paths."""
    from benchmarks import models

    made = [(models.publish(one, folder), models.publish_plain(one, folder)) for one in classifiers]
    return [base_path for pair in made for base_path in pair]


def _case(name: str, batch: int) -> str:
    return f"{name}, batch {batch}"


def _compare(run: Run, address: str, name: str, batch: int, inputs: dict[str, Any]) -> None:
    import numpy as np

    from benchmarks.models import PLAIN
    from client import ServingClient
    from client.rpc.calls import predict_call
    from client.rpc.metadata import Target

    with ServingClient(address, name) as ours, ServingClient(address, name + PLAIN) as plain:
        (key,) = plain.metadata().signature("serving_default").inputs
        (images,) = inputs.values()
        asked = {
            SPARSE: (ours, "serving_default", {**inputs, "k": np.array(K, np.int32)}),
            COMPACT: (ours, "top_k", {**inputs, "k": np.array(K, np.int32)}),
            DENSE: (plain, "serving_default", {key: images}),
        }
        turns: dict[str, Turn] = {}
        sizes = {}
        for kind, (client, signature, sent) in asked.items():
            call = predict_call(Target(client.model), signature, sent)
            sizes[kind] = {"size of the answer": float(len(client.transport.send(call.method, call.request, 60)))}
            turns[kind] = timed(
                lambda client=client, signature=signature, sent=sent: client.predict(
                    sent, signature=signature, validate=False
                )
            )
        case, at = _case(name, batch), {"batch": batch}
        against_dense = [(SPARSE, DENSE), (COMPACT, DENSE)]
        run.compare(case, turns, at=at, sides=against_dense, pairs=300, seconds=8)
        for what, against in against_dense:
            run.add(case, "size of the answer", "bytes", (what, [sizes[what]]), (against, [sizes[against]]), at)


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    model = found(rows, case="mobilenetv2, batch 8", what=SPARSE, measure="time")
    many = found(rows, case="labels_20000, batch 32", what=COMPACT, measure="time")
    size = found(rows, case="labels_20000, batch 32", what=COMPACT, measure="size of the answer")
    return (
        f"A sparsified answer of MobileNetV2 for 8 images takes {times(model)} the time of a dense one; with 20,000 "
        f"labels, a compact answer takes {times(many)} the time, and a dense one is {1 / size['ratio']:,.0f} times as "
        "large."
    )
