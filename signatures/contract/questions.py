"""The questions that both the exporter's validation and the client's check ask every signature."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Question:
    """One k, in the form that is sent and with its meaning.

    Attributes:
        name: how reports show it.
        sent: the int32 array that is sent: a scalar, [1] or [B]. None leaves k out.
        meant: the k that applies to each example, clamped to [0, N].
    """

    name: str
    sent: NDArray[np.int32] | None
    meant: tuple[int, ...]

    @property
    def per_example(self) -> NDArray[np.int32]:
        """Return one k for each example, [B], a form that every server takes."""
        return np.array(self.meant, np.int32)


def questions(*, takes_k: bool, default_k: int, labels: int, examples: int, thorough: bool) -> Iterator[Question]:
    """Yield the questions for a request.

    Args:
        takes_k: whether the signature takes k at all.
        default_k: the k that applies if a request leaves it out.
        labels: N.
        examples: B, the number of examples in the request.
        thorough: whether to ask every form of k: single elements and scalars too, not only k left out and one k per
            example.

    Yields:
        The questions.

    Example:
        >>> [question.name for question in questions(takes_k=True, default_k=2, labels=8, examples=2, thorough=False)]
        ['left out', '[1, 4] (one per example)']
    """

    def meant(*k: int) -> tuple[int, ...]:
        return tuple(min(max(value, 0), labels) for value in k)

    yield Question("left out", None, meant(default_k) * examples)
    if not takes_k:
        return
    # From -1 to N + 1, so that both ends are clamped if there are enough examples.
    mixed = [(row * 3 + 2) % (labels + 3) - 1 for row in range(examples)]
    yield Question(f"{mixed} (one per example)", np.array(mixed, np.int32), meant(*mixed))
    if not thorough:
        return
    yield Question(f"[{default_k}]", np.array([default_k], np.int32), meant(default_k) * examples)
    for k in sorted({0, 1, default_k, labels - 1, labels, -1, labels + 3}):
        yield Question(str(k), np.array(k, np.int32), meant(k) * examples)
