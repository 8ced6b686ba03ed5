"""What a served call computes: the sparsified head, the guards and the traced signatures.

The public names are loaded on first use, so that importing `signatures.contract.names` does not import TensorFlow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from signatures.batching import Batching
    from signatures.compose import Backbone, Identity, Signature, compose_signatures
    from signatures.head import rank_top_k, sparsify_top_k
    from signatures.input_forms import ImageDecoding, InputForm
    from signatures.layer import SparsifyTopK
    from signatures.output_forms import Limits, OutputForm
    from signatures.regularizer import TopKMassRegularizer

_HOME = {
    "Backbone": "signatures.compose",
    "Identity": "signatures.compose",
    "Batching": "signatures.batching",
    "ImageDecoding": "signatures.input_forms",
    "InputForm": "signatures.input_forms",
    "Limits": "signatures.output_forms",
    "OutputForm": "signatures.output_forms",
    "Signature": "signatures.compose",
    "SparsifyTopK": "signatures.layer",
    "TopKMassRegularizer": "signatures.regularizer",
    "compose_signatures": "signatures.compose",
    "rank_top_k": "signatures.head",
    "sparsify_top_k": "signatures.head",
}

__all__ = [
    "Backbone",
    "Batching",
    "Identity",
    "ImageDecoding",
    "InputForm",
    "Limits",
    "OutputForm",
    "Signature",
    "SparsifyTopK",
    "TopKMassRegularizer",
    "compose_signatures",
    "rank_top_k",
    "sparsify_top_k",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'signatures' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
