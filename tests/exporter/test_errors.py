"""What TensorFlow and Keras say of a failure, in one line that a person can read."""

import pytest

from exporter.errors import reason


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "Exception encountered when calling Cast.call().\n\n\x1b[1m{{function_node __wrapped__Cast_device}} Cast "
            "half to string is not supported [Op:Cast] name: \x1b[0m\n\nArguments received by Cast.call():",
            "Cast half to string is not supported",
        ),
        (
            "Graph execution error:\n\nDetected at node Call defined at (most recent call last):\nNode: 'Call'\n"
            'assertion failed: [found OOV values ["b"], consider `num_oov_indices=1`.]\n\t [[{{node Assert}}]]',
            'found OOV values ["b"], consider `num_oov_indices=1`',
        ),
        ("Expected 'tf.Tensor(False)' to be true. Summarized data: b'No such word.'\n[b]", "No such word"),
        ("cannot compile graph __inference_backbone_657[] on XLA_CPU_JIT", "cannot compile on XLA_CPU_JIT"),
        ("", "ValueError"),
    ],
    ids=["a layer", "an assertion in a graph", "an assertion in Python", "a traced function", "nothing"],
)
def test_a_failure_is_told_in_one_line_without_places_in_others_code(said, expected):
    assert reason(ValueError(said)) == expected


def test_a_long_failure_is_cut():
    assert len(reason(ValueError("x" * 1000))) == 203
