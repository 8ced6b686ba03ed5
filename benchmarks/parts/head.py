"""The head alone, and on a backbone, in a session as a server runs it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.ratios import Turn, timed
from benchmarks.reading import Reading, found, times
from benchmarks.run import Run

TITLE = "The head"
ABOUT = (
    "Each function zeroes all but the k largest of N scores in each row of a batch. Its input is a variable, and "
    "its output stays in the session; the call of the session is part of the time. *Sort and threshold* is the "
    "usual answer, made to work on a batch. *A plain copy* of the scores is the limit. Functions compiled by XLA "
    "have a fixed k, because XLA needs to know the shape of what `top_k` returns. The last cases are whole models "
    "with the head, over the same models without it."
)
OURS, SORT, ONE_HOT, ARGSORT, COPY = (
    "sparsify_top_k",
    "sort and threshold",
    "top_k and one_hot",
    "double argsort",
    "copy",
)
BOUNDED, COMPILED, SORT_COMPILED = "with thresholds", "sparsify_top_k by XLA", "sort and threshold by XLA"

# N, batch, k, and what to compare with. Two argsorts of 25 million scores would take ten seconds a turn.
GRID: Sequence[tuple[int, int, int, Sequence[str]]] = (
    *((n, 32, 5, (SORT, ONE_HOT, ARGSORT, COPY)) for n in (8, 100, 1_000, 10_000, 100_000)),
    *((n, 1, 5, (SORT, ONE_HOT, COPY)) for n in (8, 1_000, 100_000)),
    *((n, 256, 5, (SORT, ONE_HOT, COPY)) for n in (8, 1_000, 100_000)),
    *((n, 32, k, (SORT, ONE_HOT, COPY)) for n in (1_000, 100_000) for k in (1, 100)),
)
# `one_hot` makes a tensor of B times k times N numbers.
_MOST_ONE_HOT = 10**8


def measure(run: Run, folder: Path) -> None:
    """Measure the head alone, with thresholds, compiled by XLA, and on two backbones."""
    for labels, batch, k, others in GRID:
        case = f"N {labels:,}, batch {batch}, k {k}"
        if not run.wants(case):
            continue
        if ONE_HOT in others and batch * k * labels > _MOST_ONE_HOT:
            run.note(f"{ONE_HOT} was left out for {case}: it would need {batch * k * labels * 4 / 1e9:.1f} GB.")
            others = [other for other in others if other != ONE_HOT]
        functions = {OURS: _ours, **{name: _OTHERS[name] for name in others}}
        run.compare(case, _turns(labels, batch, k, functions), at={"labels": labels, "batch": batch, "k": k})
    for labels in (8, 1_000, 100_000):
        if run.wants(case := f"thresholds, N {labels:,}, batch 32, k 5"):
            functions = {BOUNDED: _with_thresholds, "without": _ours}
            run.compare(case, _turns(labels, 32, 5, functions), at={"labels": labels})
    for labels in (8, 1_000, 10_000):
        if run.wants(case := f"XLA, N {labels:,}, batch 32, k 5"):
            functions = {COMPILED: _ours, OURS: _ours, SORT_COMPILED: _sort}
            turns = _turns(labels, 32, 5, functions, compiled=(COMPILED, SORT_COMPILED))
            run.compare(case, turns, at={"labels": labels})
    for name in ("MobileNetV2", "20,000 labels"):
        for batch in (1, 32):
            if run.wants(case := f"{name}, batch {batch}"):
                _on_backbone(run, case, name, batch, folder)


def _ours(scores: Any, k: Any) -> Any:
    from signatures import sparsify_top_k

    return sparsify_top_k(scores, k)


def _with_thresholds(scores: Any, k: Any) -> Any:
    from signatures import sparsify_top_k

    # Low enough that the same entries are kept.
    return sparsify_top_k(scores, k, thresholds=[1e-6] * scores.shape[1])


def _sort(scores: Any, k: Any) -> Any:
    import tensorflow as tf

    threshold = tf.gather(tf.sort(scores, axis=-1), tf.shape(scores)[-1] - k, axis=-1)
    return tf.where(scores < threshold[:, tf.newaxis], tf.zeros_like(scores), scores)


def _one_hot(scores: Any, k: Any) -> Any:
    import tensorflow as tf

    indices = tf.math.top_k(scores, k).indices
    return scores * tf.reduce_sum(tf.one_hot(indices, tf.shape(scores)[-1]), axis=1)


def _argsort(scores: Any, k: Any) -> Any:
    import tensorflow as tf

    ranks = tf.argsort(tf.argsort(scores, direction="DESCENDING"))
    return tf.where(ranks < k, scores, tf.zeros_like(scores))


def _copy(scores: Any, k: Any) -> Any:
    import tensorflow as tf

    return tf.raw_ops.DeepCopy(x=scores)


_OTHERS: Mapping[str, Callable[[Any, Any], Any]] = {
    SORT: _sort,
    ONE_HOT: _one_hot,
    ARGSORT: _argsort,
    COPY: _copy,
}


def _turns(
    labels: int, batch: int, k: int, functions: Mapping[str, Callable[[Any, Any], Any]], compiled: Sequence[str] = ()
) -> dict[str, Turn]:
    """Build the functions in one session, over the same random scores, and return what times each."""
    import numpy as np
    import tensorflow as tf

    with tf.Graph().as_default():
        # All different in a row: where scores tie, sorting keeps others than we do.
        ranks = tf.argsort(tf.random.stateless_uniform([batch, labels], (1, 2)))
        scores = tf.Variable((tf.cast(ranks, tf.float32) + 1) / labels)
        # Not a constant, which TensorFlow would fold: k is an input of each request.
        wanted = tf.Variable(min(k, labels))
        outputs = {}
        for name, function in functions.items():
            fixed = name in compiled
            call = tf.function(function, jit_compile=fixed or None, autograph=False)
            given = tf.constant(min(k, labels)) if fixed else wanted.read_value()
            outputs[name] = call(scores.read_value(), given)
        session = tf.compat.v1.Session()
        session.run(tf.compat.v1.global_variables_initializer())
        answers = {name: session.run(output) for name, output in outputs.items() if name != COPY}
        first = next(iter(answers.values()))
        assert all(np.array_equal(first, answer) for answer in answers.values())
        assert (np.count_nonzero(first, axis=1) == min(k, labels)).all()
        return {name: timed(session.make_callable(output.op)) for name, output in outputs.items()}


def _on_backbone(run: Run, case: str, name: str, batch: int, folder: Path) -> None:
    """Compare a whole model with its head and without, loaded as a server loads it."""
    import numpy as np
    import tensorflow as tf

    from benchmarks import models
    from server.loader import load

    classifier = models.mobilenetv2() if name == "MobileNetV2" else models.wide(20_000, 256)
    (spec,) = classifier.inputs.specs.values()
    signature = [tf.TensorSpec(spec.shape, spec.dtype, "inputs"), tf.TensorSpec([], tf.int32, "k")]
    module = tf.Module()
    module.variables_read = [variable.value for variable in classifier.model.variables]
    sides: dict[str, Callable[[Any, Any], Any]] = {
        "with the head": lambda inputs, k: {"probabilities": _ours(classifier.probabilities(inputs), k)},
        "without": lambda inputs, k: {"probabilities": classifier.probabilities(inputs)},
    }
    functions = {key.split()[0]: tf.function(side, input_signature=signature) for key, side in sides.items()}
    directory = folder / case.replace(" ", "_")
    tf.saved_model.save(module, str(directory), signatures=functions)
    session = load(directory, xla_enabled=False)
    inputs = models.images_for(classifier, batch)
    turns = {}
    for key in sides:
        loaded = session.signatures[key.split()[0]]
        feeds = {loaded.inputs["inputs"].name: inputs}
        if "k" in loaded.inputs:
            feeds[loaded.inputs["k"].name] = np.array(5, np.int32)
        fetches = [loaded.outputs["probabilities"].name]
        turns[key] = timed(lambda feeds=feeds, fetches=fetches: session.run(feeds, fetches))
    run.compare(case, turns, at={"batch": batch}, pairs=200, seconds=12)
    session.close()


def reading(rows: Reading) -> str:
    """Say in a sentence what the rows show."""
    sort = found(rows, case="N 10,000, batch 32, k 5", against=SORT)
    copy = found(rows, case="N 10,000, batch 32, k 5", against=COPY)
    model = found(rows, case="MobileNetV2, batch 32")
    return (
        f"At 10,000 labels and a batch of 32, the head takes {times(sort)} the time of sorting each row and "
        f"{times(copy)} that of a plain copy; MobileNetV2 with the head takes {times(model)} the time without it."
    )
