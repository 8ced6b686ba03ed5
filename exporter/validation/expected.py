"""What a version must answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from exporter.samples.samples import Samples
from signatures import Signature
from signatures.contract.questions import ExportedLimits
from signatures.contract.tolerances import Tolerance

Scores: TypeAlias = npt.NDArray[np.float32]
Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]


@dataclass(frozen=True)
class ExpectedBehavior:
    """What a version must answer.

    Attributes:
        samples: the examples to send.
        dense: the Keras model's probabilities for them, [S, N].
        dense_tolerance: how far the version's scores may be from these.
        exported: the limits of its answers.
        labels: the N labels.
        info: what `export_info` must answer, by output name.
        signatures: what its metadata must declare.
        weights: the size of the model's variables in bytes.
        of_length: the samples cut to several lengths, each with the Keras model's probabilities for them, if
            requests are padded before they share a run.
        also: for each other output that is served, the Keras model's values for the first samples.
        own: for each of the user's own signatures, by key, a function from a request to the Keras model's
            probabilities, [B, N].
    """

    samples: Samples
    dense: Scores
    dense_tolerance: Tolerance
    exported: ExportedLimits
    labels: Sequence[str]
    info: Mapping[str, Any]
    signatures: Sequence[Signature]
    weights: int
    of_length: Mapping[int, tuple[Samples, Scores]] = field(default_factory=dict)
    also: Arrays = field(default_factory=dict)
    own: Mapping[str, Callable[[Arrays], Scores]] = field(default_factory=dict)

    @property
    def k(self) -> int:
        """The default k."""
        return self.exported.k
