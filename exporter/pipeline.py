"""The whole way of an export: from a Classifier to a published version."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from exporter.classifier import Classifier
from exporter.errors import ExportError
from exporter.golden import write_golden_records
from exporter.proofs import PROOFS, Claim, LoadedVersion
from exporter.saved_model import write_saved_model
from exporter.versions import VersionStore
from signatures import Backbone, Identity, Signature, compose_signatures, names

SERVER_IMAGE = "tensorflow/serving:2.20.0-gpu"

Step = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True)
class PublishedVersion:
    """A version that a server can load now.

    Attributes:
        path: its directory, <output>/<name>/<version>.
        version: its number.
        export_id: what `export_info` answers.
        signatures: its signatures, with their declared inputs and outputs.
    """

    path: Path
    version: int
    export_id: str
    signatures: Sequence[Signature]


def export(classifier: Classifier, output: Path, k: int = 2, step: Step = nullcontext) -> PublishedVersion:
    """Publish a classifier with a sparsified head as the next version below `output`/`classifier.name`.

    Args:
        classifier: the model and what must be known of it.
        output: the directory that holds the base path of each model.
        k: how many labels a served answer keeps where a request does not say.
        step: entered around each step of the work, with a few words for a person who waits.

    Raises:
        ExportError: when the model or k cannot be served. Nothing is published, and nothing left behind.
        ProofFailedError: when the version that was written does not answer as the Keras model does.
        StoreError: when `output` cannot be written to.

    Example:
        >>> export(load_classifier("digits"), Path("models"), k=2).path
        PosixPath('models/digits/1')
    """
    if not 1 <= k <= len(classifier.labels):
        raise ExportError(f"k = {k} cannot be the default for {len(classifier.labels)} labels; use 1 to that.")
    with step("Asking the Keras model"):
        dense = _dense_answers(classifier)
    store = VersionStore(output / classifier.name)
    with store.staging() as staging:
        extra = staging / names.ASSETS_EXTRA
        extra.mkdir()
        golden_digest = write_golden_records(extra / names.GOLDEN_FILE, classifier.name, classifier.samples, dense)
        export_id = uuid.uuid4().hex

        def sign(read_export_id: Callable[[], tf.Tensor]) -> list[Signature]:
            identity = Identity(
                read_export_id, classifier.name, k, classifier.labels, classifier.preprocessing, golden_digest
            )
            return compose_signatures(Backbone(classifier.probabilities, classifier.inputs), identity)

        with step("Tracing the signatures, writing the SavedModel"):
            signatures = write_saved_model(staging, classifier.model, export_id, sign)
        info = {
            names.EXPORT_ID: export_id,
            names.MODEL: classifier.name,
            names.K: k,
            names.LABELS: json.dumps(classifier.labels),
            names.PREPROCESSING: json.dumps(classifier.preprocessing),
            names.GOLDEN_DIGEST: golden_digest,
        }
        with step("Loading it as a server does"):
            version = LoadedVersion(staging)
        with version:
            for claim, prove in PROOFS.items():
                with step(claim):
                    prove(version, Claim(classifier.samples, dense, k, info))
        _write_export_file(extra / names.EXPORT_FILE, staging, classifier, k, export_id, golden_digest, signatures)
        with step("Publishing"):
            number = store.publish(staging)
    return PublishedVersion(store.base_path / str(number), number, export_id, signatures)


def _dense_answers(classifier: Classifier) -> npt.NDArray[np.float32]:
    """What Keras answers for the samples, [S, N], if these are probabilities."""
    tensors = [tf.constant(classifier.samples[name]) for name in classifier.inputs]
    dense: npt.NDArray[np.float32] = keras.ops.convert_to_numpy(classifier.probabilities(*tensors))
    if np.isnan(dense).any():
        raise ExportError(f"The model answers NaN for sample {np.argwhere(np.isnan(dense))[0][0]}; it is broken.")
    # Rounding may take a softmax a little past 1.
    if dense.min() < -1e-6 or dense.max() > 1 + 1e-6:
        raise ExportError(
            f"The model's outputs for the samples go from {dense.min():.4g} to {dense.max():.4g}, and probabilities from "
            "0 to 1: if they are logits, pass --activation sigmoid or --activation softmax."
        )
    return dense


def _write_export_file(
    file: Path,
    staging: Path,
    classifier: Classifier,
    k: int,
    export_id: str,
    golden_digest: str,
    signatures: Sequence[Signature],
) -> None:
    record = {
        "export_id": export_id,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": classifier.name,
        "k": k,
        "labels": classifier.labels,
        "preprocessing": classifier.preprocessing,
        "golden_digest": golden_digest,
        "tensorflow": tf.__version__,
        "image": SERVER_IMAGE,
        "signatures": {
            signature.key: {
                "method": signature.method,
                "inputs": _described(signature.inputs),
                "outputs": _described(signature.outputs),
            }
            for signature in signatures
        },
        "files": {
            str(path.relative_to(staging)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(staging.rglob("*"))
            if path.is_file()
        },
    }
    file.write_text(json.dumps(record, indent=2) + "\n")


def _described(specs: Mapping[str, tf.TensorSpec]) -> dict[str, Any]:
    return {
        name: {
            "dtype": spec.dtype.name,
            "shape": None if spec.shape.rank is None else [-1 if n is None else n for n in spec.shape],
        }
        for name, spec in specs.items()
    }
