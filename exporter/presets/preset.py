"""The value that `load` in each preset's module returns for the user's choice of weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A Keras model, and what is known about it.

    Attributes:
        model: the model.
        preprocessing: how pixels become its input, one of `names.PREPROCESSINGS`.
        labels: its labels, by index; empty to number them.
        sample_path: samples with their true labels, if it ships any.
        untrained: whether its weights are random.
    """

    model: Any
    preprocessing: str
    labels: tuple[str, ...] = ()
    sample_path: Path | None = None
    untrained: bool = False
