"""Random architectures: each is exported and answers as `model.predict` does, or is refused in one sentence.

The short form runs always. The full form is slow: `pytest -m slow tests/fuzz`, of which FUZZ_SEEDS=40:60 is a slice.
What a seed stands for is in the message of its failure.
"""

import gc
import os
import re
from collections import Counter
from pathlib import Path

import keras
import pytest

from exporter import ExportError, export

from .architectures import architecture
from .serving import hold

# Chosen so that every type, rank, form of model, batching and reason to refuse is among them.
SHORT = (2, 7, 11, 13)
FULL = range(*map(int, os.environ.get("FUZZ_SEEDS", "0:300").split(":")))

# A fuzz that refuses most of what it draws finds nothing.
MOST_REFUSED = 0.4

pytestmark = [
    # What Keras says of a model is no matter of ours.
    pytest.mark.filterwarnings("ignore:.*destroy the mask information"),
    pytest.mark.filterwarnings("ignore:.*You are using a softmax over axis"),
]


@pytest.mark.parametrize("seed", SHORT)
def test_a_random_architecture_is_served_as_keras_predicts_or_refused_in_a_sentence(seed, tmp_path):
    outcome(seed, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_all_random_architectures_are_served_as_keras_predicts_or_refused_in_a_sentence(tmp_path):
    outcomes, failures = Counter(), []
    for seed in FULL:
        try:
            outcomes[outcome(seed, tmp_path / str(seed))] += 1
        except Exception as error:
            failures.append(" ".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())]))
    refused = len(FULL) - len(failures) - outcomes["served"]
    print(*(f"{count:4} {what}" for what, count in outcomes.most_common()), sep="\n")
    assert failures == [], f"{len(failures)} of {len(FULL)} seeds fail"
    assert refused <= max(1, MOST_REFUSED * len(FULL)), f"{refused} of {len(FULL)} are refused: {outcomes}"


def outcome(seed: int, directory: Path) -> str:
    """Export what a seed stands for, serve it and hold it against Keras; return "served", or why it was refused."""
    drawn = architecture(seed)
    try:
        return _outcome(drawn, directory)
    except BaseException as error:
        error.add_note(f"Seed {seed}: {drawn.words}.")
        raise
    finally:
        keras.utils.clear_session()
        gc.collect()


def _outcome(drawn, directory):
    source, output = directory / "source", directory / "models"
    source.mkdir(parents=True)
    try:
        classifier, samples = drawn.classifier(source)
        version = export(classifier, output, k=drawn.k, options=drawn.options, samples=samples)
    except ExportError as error:
        assert_one_sentence(str(error))
        assert list(output.glob("*/*")) == [], "something was left behind"
        # Without what differs from seed to seed.
        return re.sub(r"'[^']*'|\[[^\]]*\]|\([^)]*\)|[-+.\d]+", "..", str(error))[:60]
    assert not drawn.hopeless, "It was exported, and nothing but a refusal is right."
    hold(drawn, classifier, version, output)
    return "served"


def assert_one_sentence(message):
    assert 20 < len(message) < 400, f"The refusal has {len(message)} characters: {message}"
    assert "\n" not in message
    assert message.endswith("."), f"The refusal is no sentence: {message}"
    # What TensorFlow's messages are full of, and nobody should have to read.
    dump = re.search(r"\{\{|\[Op:|Traceback|StatefulPartitioned|__inference|\x1b", message)
    assert not dump, f"The refusal is a dump: {message}"
