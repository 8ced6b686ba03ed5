"""Random small Keras architectures, and how they are exported: everything follows from the seed."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from exporter import Classifier, ExportOptions, Samples, SourceOptions, load_classifier
from exporter.sources.examine import examine
from signatures import Batching
from signatures.contract import names

from .fields import LONGEST, SHORTEST, Field, field, image
from .forms import formed
from .heads import head

_NAMES = ["x", "amount", "text", "y", "left", "right", "product", "b", "c", "word_ids"]
_ODD_NAMES = [
    "class", "self", "from", "None", "labels", "probabilities", "inputs", "images", "k", "K", "größe", "0abc", "__x",
    "training", "name", "a b", "a-b", "a.b", "encoded_images", "mask", "input_1", "args", "probe", "X", None,
]  # fmt: skip
_LABELS = ["cat", "дом", "日本", 'quote"', "new\nline", "x" * 300, "nul\0byte", " space ", "-1", "cat"]


@dataclass(frozen=True)
class Architecture:
    """A model, and how it is to be exported.

    words: what it is, for a person. fields: its inputs, in the order of `served`, their names in a request. pack: from
    tensors in that order to what the model is called with. classifier: makes the Classifier and its samples, given
    an empty directory; that may be refused.
    tolerance: how far from the model's own scores a served one may lie. hopeless: only a refusal is right.
    typed: whether the model says what types it takes. guarded: whether it says how many ids an embedding has.
    """

    seed: int
    words: str
    model: Any
    fields: Sequence[Field]
    served: Sequence[str]
    pack: Callable[[Sequence[Any]], Any]
    n: int
    activation: str | None
    classifier: Callable[[Path], tuple[Classifier, Samples]]
    options: ExportOptions
    k: int
    tolerance: float
    hopeless: bool
    typed: bool
    preprocessing: str | None
    guarded: bool

    def request(self, rng: np.random.Generator, examples: int) -> dict[str, Any]:
        """Draw the inputs of a request, one length for all that may have any."""
        length = int(rng.integers(SHORTEST, LONGEST + 1))
        return {name: field.values(rng, examples, length) for name, field in zip(self.served, self.fields, strict=True)}

    def scores(self, inputs: Mapping[str, Any]) -> Any:
        """Answer as `model.predict` does, [B, N], after the activation that the classifier was told of."""
        tensors = [as_tensor(inputs[name]) for name in self.served]
        (scores,) = keras.tree.flatten(self.model.predict(self.pack(tensors), verbose=0))
        scores = np.asarray(scores, np.float32)
        if self.activation == "sigmoid":
            scores = tf.sigmoid(scores).numpy()
        elif self.activation == "softmax":
            scores = tf.nn.softmax(scores).numpy()
        return scores


def architecture(seed: int) -> Architecture:
    """Draw everything that a seed stands for: the first draw that Keras itself can build, and predict with."""
    for attempt in range(50):
        rng = np.random.default_rng([seed, attempt])
        keras.utils.set_random_seed(seed)
        policy = str(rng.choice(["float32", "mixed_float16", "mixed_bfloat16"], p=[0.9, 0.06, 0.04]))
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy)
        try:
            with warnings.catch_warnings():
                # What Keras says of models like these is not our matter.
                warnings.simplefilter("ignore")
                drawn = _drawn(seed, rng, policy)
                drawn.model.predict(drawn.pack(list(map(as_tensor, drawn.request(rng, 2).values()))), verbose=0)
                return drawn
        except (ValueError, TypeError, NotImplementedError, tf.errors.OpError) as error:
            unfit = error
        finally:
            keras.config.set_dtype_policy(before)
    raise AssertionError("50 draws made no model that Keras can predict with") from unfit


def _drawn(seed: int, rng: np.random.Generator, policy: str) -> Architecture:
    n = int(rng.choice([1, 2, 3, 5, 8, 33, 1500, 4100], p=[0.06, 0.1, 0.15, 0.25, 0.2, 0.16, 0.05, 0.03]))
    end = head(rng, n)
    pictures = rng.random() < 0.22
    count = 1 if pictures else int(rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]))
    called = _names(rng, count)
    fields = [image(rng, name) if pictures else field(rng, name) for name in called]
    model, fields, served, pack, form = formed(rng, fields, end)
    subclassed = form.startswith("subclassed")
    trained = bool(rng.random() < 0.15)
    if trained:
        _disturb(model, rng)
    quantized = not subclassed and policy == "float32" and rng.random() < 0.04
    if quantized:
        model.quantize("int8")
    preprocessing = _preprocessing(rng, fields) if pictures and rng.random() < 0.8 else None
    free = any(None in field.shape for field in fields)
    options, batching = _options(rng, free, preprocessing is not None)
    words = ", ".join(
        [
            form,
            *(field.words for field in fields),
            f"{end.words} of {n}",
            batching,
            policy,
            f"precision {options.precision}",
        ]
        + ["int8"] * quantized
    )
    tolerances = {"float32": 2e-4, "mixed_float16": 2e-2, "mixed_bfloat16": 1e-1}
    labels = _labels(rng, n)
    samples = _samples(rng, fields, served)
    k = int(rng.choice([1, min(2, n), max(1, n // 2), n])) if rng.random() < 0.98 else int(rng.choice([0, n + 1]))
    source = str(rng.choice(["object", "file", "SavedModel"], p=[0.75, 0.17, 0.08]))
    if subclassed or end.words in ("strings", "a table of its own", "Python code"):
        source = "object"

    def classifier(directory: Path) -> tuple[Classifier, Samples]:
        return _classifier(directory, model, source, f"m{seed}", labels, preprocessing, samples, end.activation)

    return Architecture(
        seed=seed,
        words=f"{words}; {source}, k={k}, names {called}, preprocessing {preprocessing}, "
        f"{'no' if samples is None else len(samples)} samples, {options.signatures or 'all signatures'}"
        + (", jit" if options.jit_compile else ""),
        model=model,
        fields=fields,
        served=served,
        pack=pack,
        n=n,
        activation=end.activation,
        classifier=classifier,
        options=options,
        k=k,
        tolerance=0.05 if quantized else max(tolerances[policy], tolerances[options.precision or policy]),
        hopeless=end.hopeless or (subclassed and any(field.dtype == "string" for field in fields)),
        typed=not subclassed,
        preprocessing=preprocessing,
        guarded=not subclassed and source != "SavedModel",
    )


def _names(rng: np.random.Generator, count: int) -> list[str | None]:
    chosen: list[str | None] = [str(name) for name in rng.choice(_NAMES, count, replace=False)]
    if rng.random() < 0.12:
        chosen[rng.integers(count)] = _ODD_NAMES[rng.integers(len(_ODD_NAMES))]
    return chosen


def as_tensor(array: Any) -> Any:
    return tf.constant(array, tf.string if array.dtype == object else array.dtype)


def _disturb(model: Any, rng: np.random.Generator) -> None:
    """Give statistics and weights values that no initializer gives."""
    for variable in model.trainable_variables:
        variable.assign(variable + rng.normal(size=variable.shape, scale=0.05).astype("float32"))
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(rng.normal(size=layer.moving_mean.shape))
            layer.moving_variance.assign(rng.uniform(0.5, 2.0, layer.moving_variance.shape))


def _options(rng: np.random.Generator, free: bool, files: bool) -> tuple[ExportOptions, str]:
    said: dict[str, Any] = {}
    words = str(rng.choice(["alone", "batched in the graph", "batched by the server"], p=[0.52, 0.38, 0.1]))
    if words != "alone":
        most = int(rng.choice([1, 3, 8]))
        batching = Batching(
            max_request_size=int(rng.choice([16, 64])),
            max_batch_size=most,
            batch_timeout_micros=int(rng.choice([0, 1000, 5000])),
            allowed_batch_sizes=(most,) if rng.random() < 0.3 else (),
            num_batch_threads=int(rng.choice([1, 2])),
            max_enqueued_batches=1000,
            pad_to=[(LONGEST,), (6, LONGEST), ()][rng.choice(3, p=[0.3, 0.5, 0.2])]
            if free and words == "batched in the graph"
            else (),
        )
        said["batching" if words == "batched in the graph" else "server_batching"] = batching
    if rng.random() < 0.08:
        said["precision"] = str(rng.choice(["mixed_float16", "mixed_bfloat16"]))
    if rng.random() < 0.04:
        said["jit_compile"] = True
    if rng.random() < 0.2:
        every = [names.TOP_K, names.FIXED_K, *([] if free else [names.CLASSIFY])]
        if files or rng.random() < 0.1:
            every += [names.ENCODED_IMAGES, names.ENCODED_IMAGES_TOP_K]
        count = int(rng.integers(1, len(every)))
        said["signatures"] = tuple(str(key) for key in rng.choice(every, count, replace=False))
    if rng.random() < 0.05:
        said["golden_megabytes"] = 1e-6
    return ExportOptions(**said), words


def _preprocessing(rng: np.random.Generator, fields: Sequence[Field]) -> str:
    gray = fields[0].shape[-1] == 1 and rng.random() < 0.9
    return str(rng.choice([mode for mode in names.PREPROCESSINGS if not gray or mode not in ("caffe", "torch")]))


def _labels(rng: np.random.Generator, n: int) -> tuple[str, ...]:
    kind = rng.choice(["none", "some", "odd", "empty", "miscounted"], p=[0.45, 0.35, 0.17, 0.015, 0.015])
    if kind == "none":
        return ()
    if kind == "odd":
        return tuple(_LABELS[place % len(_LABELS)] for place in range(n))
    labels = [f"label {place}" for place in range(n)]
    if kind == "empty":
        labels[rng.integers(n)] = ""
    return tuple(labels[:-1] if kind == "miscounted" and n > 1 else labels)


def _samples(rng: np.random.Generator, fields: Sequence[Field], served: Sequence[str]) -> Samples | None:
    if rng.random() < 0.55:
        return None
    count = int(rng.choice([1, 3, 9]))
    length = int(rng.integers(SHORTEST, LONGEST + 1))
    inputs = {name: field.values(rng, count, length) for name, field in zip(served, fields, strict=True)}
    if rng.random() < 0.25:
        # As people have them: in numpy's own types.
        wide = {"f": np.float64, "i": np.int64, "u": np.int64}
        inputs = {
            name: np.array([v.decode() for v in array.ravel()]).reshape(array.shape)
            if array.dtype == object
            else array.astype(wide.get(array.dtype.kind, array.dtype))
            for name, array in inputs.items()
        }
    return Samples(inputs)


def _classifier(
    directory: Path,
    model: Any,
    source: str,
    name: str,
    labels: tuple[str, ...],
    preprocessing: str | None,
    samples: Samples | None,
    activation: str | None,
) -> tuple[Classifier, Samples]:
    if source == "object":
        return examine(Classifier(model, name, labels, preprocessing, activation=activation), samples)
    options = SourceOptions(
        name=name, labels=labels, preprocessing=preprocessing, activation=activation, allow_unsafe=True
    )
    path = directory / ("saved.keras" if source == "file" else "exported")
    if source == "file":
        model.save(path)
    else:
        model.export(path, verbose=False)
    return examine(load_classifier(str(path), options))
