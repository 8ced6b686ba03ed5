"""The whole way of an export: from a Classifier to a published version."""

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tensorflow as tf

from exporter.classifier import Classifier
from exporter.errors import ExportError
from exporter.golden import write_golden_records
from exporter.loaded import LoadedVersion
from exporter.precision import DENSE_TOLERANCES, Deviation, cast_backbone, deviation
from exporter.proofs import PROOFS, Claim
from exporter.saved_model import write_saved_model
from exporter.serving import Serving
from exporter.versions import VersionStore
from signatures import Identity, Signature, compose_signatures, names

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
        deviation: what another precision changed, where one was asked for.
    """

    path: Path
    version: int
    export_id: str
    signatures: Sequence[Signature]
    deviation: Deviation | None


def export(
    classifier: Classifier, output: Path, k: int = 2, *, serving: Serving | None = None, step: Step = nullcontext
) -> PublishedVersion:
    """Publish a classifier with a sparsified head as the next version below `output`/`classifier.name`.

    Args:
        classifier: the model and what must be known of it.
        output: the directory that holds the base path of each model.
        k: how many labels a served answer keeps where a request does not say.
        serving: how the exported model computes.
        step: entered around each step of the work, with a few words for a person who waits.

    Raises:
        ExportError: when the model or an option cannot be served. Nothing is published, and nothing left behind.
        ProofFailedError: when the version that was written does not answer as the Keras model does.
        StoreError: when `output` cannot be written to.

    Example:
        >>> export(load_classifier("digits"), Path("models"), k=2).path
        PosixPath('models/digits/1')
    """
    serving = serving or Serving()
    labels = classifier.labels
    if not 1 <= k <= len(labels):
        raise ExportError(
            f"k = {k} cannot be the default for {len(labels)} labels: use a number from 1 to {len(labels)}."
        )
    if serving.precision not in DENSE_TOLERANCES:
        raise ExportError(
            f"The precision {serving.precision!r} is not known: use one of {', '.join(DENSE_TOLERANCES)}."
        )
    samples = classifier.samples
    with step("Asking the Keras model"):
        dense = classifier.dense_answers(samples)
    store = VersionStore(output / classifier.name)
    with store.staging() as staging, cast_backbone(classifier.model, serving.precision):
        changed = None
        if serving.precision != "float32":
            with step(f"Asking it again in {serving.precision}"):
                float32, dense = dense, classifier.dense_answers(samples)
                changed = deviation(float32, dense, k)
        extra = staging / names.ASSETS_EXTRA
        extra.mkdir()
        digest = write_golden_records(extra / names.GOLDEN_FILE, classifier.name, samples.inputs, dense)
        export_id = uuid.uuid4().hex

        def sign(read_export_id: Callable[[], tf.Tensor]) -> list[Signature]:
            identity = Identity(read_export_id, classifier.name, k, labels, classifier.preprocessing, digest)
            try:
                return compose_signatures(classifier.backbone(serving), identity, serving.signatures)
            except ValueError as error:
                raise ExportError(str(error)) from error

        with step("Tracing the signatures, writing the SavedModel"):
            signatures = write_saved_model(staging, classifier.model, export_id, sign)
        info = {
            names.EXPORT_ID: export_id,
            names.MODEL: classifier.name,
            names.K: k,
            names.LABELS: json.dumps(labels),
            names.PREPROCESSING: json.dumps(classifier.preprocessing),
            names.GOLDEN_DIGEST: digest,
        }
        with step("Loading it as a server does"):
            version = LoadedVersion(staging)
        with version:
            tolerance = DENSE_TOLERANCES[serving.precision]
            claim = Claim(samples, dense, tolerance, k, labels, info, signatures, classifier.weight_bytes())
            for words, prove in PROOFS.items():
                with step(words):
                    prove(version, claim)
        _write_export_file(
            extra / names.EXPORT_FILE, staging, classifier, k, export_id, digest, signatures, serving, changed
        )
        with step("Publishing"):
            number = store.publish(staging)
    return PublishedVersion(store.base_path / str(number), number, export_id, signatures, changed)


def _write_export_file(
    file: Path,
    staging: Path,
    classifier: Classifier,
    k: int,
    export_id: str,
    golden_digest: str,
    signatures: Sequence[Signature],
    serving: Serving,
    changed: Deviation | None,
) -> None:
    record = {
        "export_id": export_id,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "model": classifier.name,
        "k": k,
        "labels": classifier.labels,
        "preprocessing": classifier.preprocessing,
        "golden_digest": golden_digest,
        "precision": serving.precision,
        "deviation": None if changed is None else asdict(changed),
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
