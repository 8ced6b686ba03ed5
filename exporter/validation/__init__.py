"""Validate that a staged version, loaded as a server loads it, answers as the Keras model does."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from exporter.validation.answers import (
    validate_alone,
    validate_also_outputs,
    validate_dense,
    validate_head,
    validate_images,
    validate_own_signatures,
)
from exporter.validation.batching import validate_padding, validate_shared_runs
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.guards import validate_guards
from exporter.validation.identity import validate_identity
from exporter.validation.loaded import LoadedVersion
from exporter.validation.portability import validate_portability
from exporter.validation.warmup import validate_warmup

# Raises ValidationError when the version does not behave as expected.
Validation: TypeAlias = Callable[[LoadedVersion, ExpectedBehavior], None]

# By the description that the user sees while they run.
VALIDATIONS: Mapping[str, Validation] = {
    "Ops are TensorFlow's own, weights stored once": validate_portability,
    "A sample gets the same answer alone and beside others": validate_alone,
    "Dense answers equal the Keras model's": validate_dense,
    "Images are decoded as Pillow decodes them": validate_images,
    "Every signature keeps the k largest, for every form of k": validate_head,
    "Malformed requests are refused": validate_guards,
    "The version identifies itself correctly": validate_identity,
    "Every warm-up request succeeds": validate_warmup,
}
# Run before the others if requests share runs inside the graph.
BATCHING_VALIDATIONS: Mapping[str, Validation] = {
    "Padding changes no answer": validate_padding,
    "Requests that share a run are answered as if alone": validate_shared_runs,
}
# Run after the others if other outputs of the model are served.
ALSO_VALIDATIONS: Mapping[str, Validation] = {"Other outputs equal the Keras model's": validate_also_outputs}
# Run after the others if the user adds signatures.
OWN_VALIDATIONS: Mapping[str, Validation] = {
    "Your own signatures answer as the Keras model does": validate_own_signatures
}


def validations_for(*, batching: bool, own_signatures: bool, also_outputs: bool = False) -> dict[str, Validation]:
    """Return the validations of an export in the order in which they run."""
    return {
        **(BATCHING_VALIDATIONS if batching else {}),
        **VALIDATIONS,
        **(ALSO_VALIDATIONS if also_outputs else {}),
        **(OWN_VALIDATIONS if own_signatures else {}),
    }
