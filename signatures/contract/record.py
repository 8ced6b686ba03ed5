"""`export.json`: what a published version says about itself. Only this module reads and writes the file.

The exporter writes it. The code that lists, deploys, checks or promotes a version reads it. Its JSON Schema is
`export.schema.json`, next to this module.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from signatures.contract import names

# Increased when a reader of the previous version would misread a record; new optional fields do not count.
# 2: answers may be limited by min_score and thresholds, too.
SCHEMA_VERSION = 2

# The fields that identify a version. The first release wrote these, but no schema version.
_REQUIRED = ("export_id", "model", "k", "labels", "preprocessing", "golden_digest")
_TYPES = {"export_id": str, "model": str, "k": int, "labels": list, "golden_digest": str}
_IDENTITY = (*_REQUIRED, "min_score", "thresholds")


class RecordError(ValueError):
    """A file is not an export record that this release can read. The message names the file and the reason."""


@dataclass(frozen=True, kw_only=True)
class ExportRecord:
    """Everything that is recorded about an export.

    Attributes:
        export_id: an id that no other export has, 32 hexadecimal digits.
        model: the name that the model is served under.
        k: how many labels an answer keeps if the request does not say.
        labels: the N labels, by index.
        preprocessing: how pixels become the model's input, or None if that is unknown.
        golden_digest: SHA-256 of the golden records, in hexadecimal.
        min_score: the lowest score that an answer keeps if the request does not say. 0 bounds nothing.
        thresholds: the lowest score that an answer keeps for each label, whatever the request says; 0 for a label
            without a threshold, and empty if there are none.
        threshold_fit: how the thresholds were fitted, or None if they were not.
        created: when the model was exported, in ISO 8601 (UTC).
        tensorflow: the version of TensorFlow that exported it.
        image: the server image that it was exported for.
        precision: the precision that the backbone computes in.
        jit_compile: whether XLA compiles the backbone. A server needs a flag for that.
        batching: how requests share a run of the backbone inside the graph, or None if they do not.
        samples: how many examples it was validated with, and whether they were made up.
        quality: its quality on labeled samples, or None without such samples.
        deviation: how much the chosen precision changed the scores, or None if the model's own precision was kept.
        gpu: where its ops would run on a server with a GPU.
        git_commit: the commit of the repository that it was exported in, ending in "-dirty" if files differed from it.
        source_digest: SHA-256 of the model's file or directory, in hexadecimal; None for a model without one.
        metadata: what the user recorded about the export, by name.
        signatures: by key, the method and the declared inputs and outputs, with dtype and shape (-1 for any size).
        memory: an estimate of the bytes that a server needs for it on its host: see `exporter.memory`.
        warmup_seconds: how long loading and warming up took where it was exported, or on the slowest of `validated_on`.
        validated_on: the servers that it was validated on before it was published, with their versions and devices.
        input_bounds: what is known about the values of inputs, by name: {"ids": N}, the size of an embedding, or
            {"words": [...]}, the first words of a vocabulary.
        files: SHA-256 in hexadecimal of every other file of the version, by path.
        schema_version: the version of this format.
    """

    export_id: str
    model: str
    k: int
    labels: Sequence[str]
    preprocessing: str | None
    golden_digest: str
    min_score: float = 0.0
    thresholds: Sequence[float] = ()
    threshold_fit: Mapping[str, Any] | None = None
    created: str | None = None
    tensorflow: str | None = None
    image: str | None = None
    precision: str | None = None
    jit_compile: bool = False
    batching: Mapping[str, Any] | None = None
    samples: Mapping[str, Any] | None = None
    quality: Mapping[str, Any] | None = None
    deviation: Mapping[str, Any] | None = None
    gpu: Mapping[str, Any] | None = None
    git_commit: str | None = None
    source_digest: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    signatures: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, int] | None = None
    warmup_seconds: float | None = None
    validated_on: Sequence[Mapping[str, Any]] = ()
    input_bounds: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def identity(self) -> dict[str, Any]:
        """The answer of `export_info`, by output name."""
        return {name: getattr(self, name) for name in _IDENTITY}

    @property
    def origin(self) -> dict[str, Any]:
        """Where the version comes from: what distinguishes it from other exports, and what it was made from."""
        fields_ = ("export_id", "created", "git_commit", "source_digest", "metadata")
        return {name: getattr(self, name) for name in fields_}

    def write(self, version: Path) -> None:
        """Write the record to a version's directory."""
        file = record_file(version)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, version: Path) -> Self:
        """Read the record in the directory of a version that this release or an older one exported.

        Raises:
            RecordError: if there is no record, or if this release cannot read it.

        Example:
            >>> ExportRecord.read(Path("models/digits/1")).labels
            ('0', '1', '2', '3', '4', '5', '6', '7')
        """
        return cls.from_file(record_file(version))

    @classmethod
    def from_file(cls, file: Path) -> Self:
        """Read a record from a file; see `read`."""
        try:
            stated = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise RecordError(
                f"{file} cannot be read ({error.strerror}): pass a version directory that export-model wrote"
            ) from error
        except ValueError as error:
            raise RecordError(f"{file} is not what export-model writes: {error}") from error
        missing = [name for name in _REQUIRED if not isinstance(stated, dict) or name not in stated]
        if missing:
            raise RecordError(f"{file} is not what export-model writes: it has no {missing[0]!r}")
        schema_version = stated.get("schema_version", SCHEMA_VERSION)
        if not isinstance(schema_version, int) or schema_version > SCHEMA_VERSION:
            raise RecordError(
                f"{file} has the schema version {schema_version!r}, and this release reads up to {SCHEMA_VERSION}: "
                "install a newer sparsehead"
            )
        typed = all(type(stated[name]) is kind for name, kind in _TYPES.items())
        bounds = stated.get("min_score") or 0.0, stated.get("thresholds") or ()
        if not typed or not _are_bounds(*bounds, len(stated["labels"])):
            raise RecordError(f"{file} is not what export-model writes: its identity has values of the wrong type")
        known = {each.name for each in fields(cls)}
        # Newer releases may add fields that an older reader does not need.
        values = {name: value for name, value in stated.items() if name in known and value is not None}
        tuples = {"labels": tuple(map(str, stated["labels"])), "thresholds": tuple(stated.get("thresholds") or ())}
        return cls(**{"preprocessing": None, **values, **tuples})


def _are_bounds(min_score: Any, thresholds: Any, labels: int) -> bool:
    if not isinstance(thresholds, list | tuple) or len(thresholds) not in (0, labels):
        return False
    return all(type(value) in (int, float) and math.isfinite(value) for value in (min_score, *thresholds))


def record_file(version: Path) -> Path:
    """Return the path of the record in a version's directory."""
    return version / names.ASSETS_EXTRA / names.EXPORT_FILE
