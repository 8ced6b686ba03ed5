"""What the sparsified head costs, in a session as a server makes it: `python benchmarks/head.py`.

Two computations take turns, in pairs; a row is the median ratio of the two times of a pair, with a 95% bootstrap
interval. Four kinds of row: MobileNetV2 with the head over without; a linear backbone of 256 features and 20,000
labels with the head over without; the head with min_score over the head of k alone; and the head against the function
that the Stack Overflow answer has, made to work on a batch, which sorts every row. That function over ours, so more is
better there, and each alone: its input is a variable, and its output stays in the session.
"""

import json
import logging
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import click
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from exporter.presets.mobilenetv2 import build_mobilenetv2
from signatures.guards import finite, one_for_each_example
from signatures.head import sparsify_top_k

Compute = Callable[..., tf.Tensor]
Call = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """Two computations over the same input, and what their ratio should be.

    Attributes:
        name: what is compared.
        numerator, denominator: from a float32 tensor and k to one.
        variables: what they read.
        inputs: the numbers to compute on, float32.
        k: how many labels are kept.
        target: the bound for the ratio; the whole interval must keep it.
        above: whether the ratio should be above `target`, rather than below.
        alone: whether to time the computation alone, without the way of its input and output to the session and back.
    """

    name: str
    numerator: Compute
    denominator: Compute
    variables: list[Any]
    inputs: npt.NDArray[np.float32]
    k: int
    target: float
    above: bool = False
    alone: bool = False


@dataclass(frozen=True)
class Ratio:
    """The median ratio of a comparison, its 95% interval, and the median milliseconds of either side."""

    name: str
    median: float
    low: float
    high: float
    numerator_ms: float
    denominator_ms: float
    target: str
    passed: bool


def threshold_by_sorting(probabilities: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    """Zero what lies below a row's k-th largest, found by a sort: the answer's function, for a batch."""
    threshold = tf.gather(tf.sort(probabilities, axis=-1), tf.shape(probabilities)[-1] - k, axis=-1)
    return tf.where(probabilities < threshold[:, tf.newaxis], tf.zeros_like(probabilities), probabilities)


def comparisons() -> Iterator[Comparison]:
    random = np.random.default_rng(0)
    model = build_mobilenetv2()

    def mobilenet(images: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    for batch in (1, 32):
        images = random.uniform(-1, 1, (batch, 224, 224, 3)).astype(np.float32)
        variables = [variable.value for variable in model.variables]
        yield Comparison(
            f"head on MobileNetV2, batch {batch}", with_head(mobilenet), mobilenet, variables, images, 6, 1.02
        )

    kernel = tf.Variable(random.normal(0, 0.1, (256, 20_000)).astype(np.float32))

    def linear(features: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return tf.sigmoid(tf.matmul(features, kernel))

    for batch, target in ((1, 1.3), (32, 1.6)):
        features = random.normal(size=(batch, 256)).astype(np.float32)
        yield Comparison(
            f"head on linear 256 x 20,000, batch {batch}", with_head(linear), linear, [kernel], features, 5, target
        )

    yield from bounded(linear, kernel)

    for batch, labels, target in ((256, 1_000, 6), (32, 20_000, 10)):
        scores = random.random((batch, labels), np.float32)
        yield Comparison(
            f"sorting over head, {batch} x {labels:,}",
            threshold_by_sorting,
            sparsify_top_k,
            [],
            scores,
            5,
            target,
            above=True,
            alone=True,
        )


def bounded(linear: Compute, kernel: tf.Variable) -> Iterator[Comparison]:
    """Compare the head with a min_score of 0, as a request leaves it out, with the head of k alone."""
    random = np.random.default_rng(1)
    # Read from a variable, as from a request: a constant would be folded into the graph.
    min_score = tf.Variable(0.0)
    model = build_mobilenetv2(labels=1_000)
    weights = [variable.value for variable in model.variables]
    sides: list[tuple[str, Compute, list[Any], tuple[int, ...], float]] = [
        (
            "MobileNetV2 with 1,000 labels",
            lambda images, _: model(images, training=False),
            weights,
            (224, 224, 3),
            1.02,
        ),
        ("linear 256 x 20,000", linear, [kernel], (256,), 1.05),
    ]
    for name, backbone, read, shape, target in sides:
        for batch in (1, 32):
            yield Comparison(
                f"min_score on {name}, batch {batch}",
                with_head(backbone, min_score),
                with_head(backbone),
                [*read, min_score],
                random.normal(size=(batch, *shape)).astype(np.float32),
                5,
                target,
            )


def with_head(backbone: Compute, min_score: tf.Variable | None = None) -> Compute:
    """Put the head on a backbone, with the guards of its limits; `min_score` is one of them if it is given."""

    def compute(inputs: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
        each = None
        if min_score is not None:
            each = finite("min_score", one_for_each_example("min_score", min_score.read_value(), inputs))
        return sparsify_top_k(backbone(inputs, k), one_for_each_example("k", k, inputs), each)

    return compute


@contextmanager
def served(comparison: Comparison) -> Iterator[tuple[tuple[Call, Call], tuple[Call, Call]]]:
    """Save both sides as signatures, load them as a server does, and give for each a call to time and one to check."""
    module = tf.Module()
    module.variables_read = comparison.variables
    module.inputs = tf.Variable(comparison.inputs if comparison.alone else 0.0)
    shape = [None, *comparison.inputs.shape[1:]]

    def signature(compute: Compute) -> Any:
        return tf.function(
            lambda inputs, k: {"probabilities": compute(module.inputs if comparison.alone else inputs, k)},
            input_signature=[tf.TensorSpec(shape, tf.float32, "inputs"), tf.TensorSpec([], tf.int32, "k")],
        )

    sides = {"numerator": signature(comparison.numerator), "denominator": signature(comparison.denominator)}
    with tempfile.TemporaryDirectory() as directory:
        tf.saved_model.save(module, directory, signatures=sides)
        with tf.Graph().as_default():
            session = tf.compat.v1.Session()
            loaded = tf.compat.v1.saved_model.loader.load(session, ["serve"], directory).signature_def
    with session:
        inputs = comparison.inputs[:0] if comparison.alone else comparison.inputs
        timed, checked = [], []
        for side in sides:
            feeds = [loaded[side].inputs[name].name for name in ("inputs", "k")]
            output = session.graph.get_tensor_by_name(loaded[side].outputs["probabilities"].name)
            for calls, fetch in ((timed, output.op if comparison.alone else output), (checked, output)):
                run = session.make_callable(fetch, feed_list=feeds)
                calls.append(lambda run=run: run(inputs, np.int32(comparison.k)))
        yield (timed[0], timed[1]), (checked[0], checked[1])


def measure(comparison: Comparison, pairs: int, console: Console) -> Ratio:
    """Time `pairs` pairs, the sides taking turns in going first."""
    with served(comparison) as (sides, checked):
        sparse, other = (call() for call in checked)
        kept = sparse != 0
        assert (kept.sum(axis=-1) == comparison.k).all()
        assert np.allclose(sparse[kept], other[kept], rtol=1e-4)
        for call in sides * 5:
            call()
        times = []
        for pair in track(range(pairs), comparison.name, console=console, transient=True):
            order = (0, 1) if pair % 2 else (1, 0)
            taken = [0.0, 0.0]
            for side in order:
                started = time.perf_counter()
                sides[side]()
                taken[side] = time.perf_counter() - started
            times.append(taken)
    numerator, denominator = np.array(times).T
    ratios = numerator / denominator
    drawn = np.random.default_rng(0).choice(ratios, (2000, len(ratios)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return Ratio(
        comparison.name,
        float(np.median(ratios)),
        float(low),
        float(high),
        float(np.median(numerator) * 1000),
        float(np.median(denominator) * 1000),
        f"{'>=' if comparison.above else '<='} {comparison.target:g}",
        bool(low >= comparison.target if comparison.above else high <= comparison.target),
    )


def show(ratios: list[Ratio]) -> None:
    table = Table("compared", "ratio", "95% interval", "target", "ms")
    for ratio in ratios:
        table.add_row(
            ratio.name,
            f"{ratio.median:.3f}",
            f"{ratio.low:.3f} to {ratio.high:.3f}",
            f"{ratio.target} [green]met[/]" if ratio.passed else f"{ratio.target} [red]missed[/]",
            f"{ratio.numerator_ms:.2f} / {ratio.denominator_ms:.2f}",
        )
    Console().print(table)


@click.command()
@click.option("--pairs", default=200, show_default=True, help="Pairs of calls of each comparison.")
@click.option("--only", default="", help="Only comparisons with this in their name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout, and nothing else there.")
def main(pairs: int, only: str, as_json: bool) -> None:
    """Measure what the head costs, and what it saves over sorting."""
    tf.get_logger().setLevel(logging.ERROR)
    console = Console(stderr=True)
    ratios = [measure(comparison, pairs, console) for comparison in comparisons() if only in comparison.name]
    if as_json:
        print(json.dumps({"pairs": pairs, "tensorflow": tf.__version__, "ratios": [asdict(ratio) for ratio in ratios]}))
    else:
        show(ratios)


if __name__ == "__main__":
    main()
