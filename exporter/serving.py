"""How an exported model computes: which signatures, in what precision, one by one or in batches."""

from collections.abc import Sequence
from dataclasses import dataclass

from signatures import InGraphBatching


@dataclass(frozen=True)
class Serving:
    """How the exported model computes.

    Attributes:
        signatures: the signatures wanted, by default all that the model can have.
        batching: set where requests shall share a run of the backbone.
        precision: of the backbone, one of `exporter.precision.DENSE_TOLERANCES`.
        jit_compile: whether XLA compiles the backbone. A server then needs `--xla_gpu_compilation_enabled`, or on a CPU
            `--xla_cpu_compilation_enabled`, and fails every request without.
    """

    signatures: Sequence[str] | None = None
    batching: InGraphBatching | None = None
    precision: str = "float32"
    jit_compile: bool = False
