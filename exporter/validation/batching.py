"""Validations for requests that share runs inside the graph: no request may change another's answer."""

from concurrent.futures import ThreadPoolExecutor
from itertools import product

import keras
import numpy as np
import numpy.typing as npt

from exporter.errors import ExportError, ValidationError
from exporter.samples.samples import Samples, made_up_samples
from exporter.sources.classifier import Classifier
from exporter.sources.model_inputs import refuses_unknown
from exporter.validation.calls import dense_of, validate_answer
from exporter.validation.expected import ExpectedBehavior, Scores
from exporter.validation.loaded import LoadedVersion
from signatures import Batching
from signatures.contract import names
from signatures.contract.judge import judge_dense
from signatures.contract.questions import Question, question_of

# The examples in a request: requests sent at the same time should differ in size, too.
_SIZES = (2, 1)

# How many samples to use at each length.
_ASKED = 8

# How often to send them: which requests meet in a run is a matter of chance.
_ROUNDS = 3


def samples_that_fit(classifier: Classifier, samples: Samples, batching: Batching | None) -> Samples:
    """Return the samples, with made-up ones cut to the longest length that a request may have.

    Raises:
        ExportError: when the user's samples are longer.
    """
    specs = classifier.inputs.specs
    longest = samples.longest(specs)
    if batching is None or not batching.pad_to or longest <= batching.pad_to[-1]:
        return samples
    if samples.made_up:
        return samples.of_length(batching.pad_to[-1], specs)
    raise ExportError(
        f"The samples have a length of {longest}, and --pad-to ends at {batching.pad_to[-1]}: requests as long as the "
        f"samples would be refused. Add {longest} or more to --pad-to, or pass shorter samples."
    )


def values_that_fail_others(classifier: Classifier) -> list[str]:
    """Return warnings about values that would fail all requests in a shared run and that no guard can refuse.

    Raises:
        ExportError: when one of the model's layers is built to fail for such values.
    """
    layers = classifier.model._flatten_layers(include_self=False)
    if of_known := [layer.name for layer in layers if refuses_unknown(layer)]:
        raise ExportError(
            f"The layer {of_known[0]} fails for values outside of its vocabulary, along with all requests that share "
            "the run: give it num_oov_indices=1, or export with --batching none."
        )
    subclassed = [
        model
        for model in classifier.model._flatten_layers()
        if isinstance(model, keras.Model) and not getattr(model, "inputs", None)
    ]
    return [
        f"The subclassed model {model.name} does not declare which of its inputs are ids of its layer {layer.name}: "
        "an id that the layer does not have fails all requests that share the run."
        for model in subclassed
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, keras.layers.Embedding)
    ]


def answers_by_length(
    classifier: Classifier, samples: Samples, batching: Batching | None
) -> dict[int, tuple[Samples, npt.NDArray[np.float32]]]:
    """Run the Keras model on samples of several lengths, including those that are padded most.

    Returns:
        By length, the samples cut to it and the model's probabilities for them; empty if requests do not share runs or
        every input has a fixed length.
    """
    longest = samples.longest(classifier.inputs.specs)
    if batching is None or not longest:
        return {}
    found = {}
    ends = batching.pad_to or (max(longest // 2, 1), longest)
    for before, padded_to in zip((0, *ends), ends, strict=False):
        lengths = (1 << n for n in range(before.bit_length(), padded_to.bit_length()))
        for length, few in product((before + 1, *lengths, padded_to), (False, True)):
            resized = samples.rows(0, _ASKED).of_length(length, classifier.inputs.specs)
            try:
                asked = resized if few else _with_noise(classifier, resized, length)
                found[length] = asked, classifier.dense_answers(asked)
                break
            except ExportError:
                # The model may refuse noise or, with a convolution, a single word: try the next one.
                continue
    return found


def _with_noise(classifier: Classifier, samples: Samples, length: int) -> Samples:
    """Add made-up samples, because a few samples may hold no word that the model can tell from padding."""
    if samples.made_up:
        return samples
    noise = made_up_samples(classifier.inputs, None).of_length(length, classifier.inputs.specs)
    return Samples({name: np.concatenate([array, noise.inputs[name]]) for name, array in samples.inputs.items()})


def validate_padding(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that padded requests are answered as the Keras model answers them unpadded."""
    for length, (samples, dense) in expected.of_length.items():
        for keras_row, served_row in zip(dense, dense_of(version, samples), strict=True):
            if judge_dense(keras_row, served_row, expected.dense_tolerance, expected.k).problem:
                largest = np.abs(keras_row - served_row).max()
                raise ValidationError(
                    f"Padding changes the model's answers: by {largest:.2g} for an input of "
                    f"length {length}. The model must ignore zeros at the end of its inputs, as layers do behind "
                    "Embedding(mask_zero=True): mask them, or export with --batching none."
                )


def validate_shared_runs(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that simultaneous requests of different sizes, lengths and limits are answered as if each came alone."""
    keys = [key for key in (names.SERVING_DEFAULT, names.TOP_K) if key in version.signatures]
    kinds = [expected.samples, *(samples for samples, _ in expected.of_length.values())]
    batches = [samples.repeated(size) for samples in kinds for size in _SIZES]
    alone = [dense_of(version, samples) for samples in batches]
    with ThreadPoolExecutor(len(batches) * len(keys)) as pool:
        for _ in range(_ROUNDS):
            waiting = [
                pool.submit(
                    validate_answer,
                    version,
                    expected,
                    key,
                    samples,
                    _one_limit_each(expected, samples, dense, number),
                    dense,
                    expected.dense_tolerance,
                )
                for number, (samples, dense) in enumerate(zip(batches, alone, strict=True))
                for key in keys
            ]
            for each in waiting:
                each.result()


def _one_limit_each(expected: ExpectedBehavior, samples: Samples, dense: Scores, number: int) -> Question:
    """Return a question with a different k and min_score for each example, which vary between requests."""
    ks = [expected.k, 1][: len(samples)]
    # Half of the best score, most of it, or no bound.
    min_scores = [float(row.max()) * share for row, share in zip(dense, (0.5, 0.9, 0.0)[number % 2 :], strict=False)]
    takes, exported = names.LIMITS, expected.exported
    return question_of(ks, min_scores, takes=takes, exported=exported, shape=dense.shape)
