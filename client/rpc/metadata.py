"""What a server reports about a model: its signatures, the state of its versions, the identity of the export."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from client.errors import DecodeError, InputError
from client.rpc.codec import decode_tensor
from client.rpc.dtypes import type_name
from client.rpc.messages import VERSION_STATES
from signatures.contract import names
from signatures.contract.bounds import shortest


@dataclass(frozen=True)
class Target:
    """The model to call, and its version: the newest, unless `version` or `label` is set."""

    model: str
    version: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.version is not None and self.label is not None:
            raise InputError(f"version {self.version} and label {self.label!r} were both passed: pass one of them")
        if self.version is not None and not 0 <= self.version < 2**63:
            raise InputError(f"version is {self.version}: pass a whole number from 0 on, below 2**63")

    def __str__(self) -> str:
        if self.version is not None:
            return f"version {self.version} of model {self.model}"
        if self.label is not None:
            return f"the version of model {self.model} labeled {self.label}"
        return f"model {self.model}"


@dataclass(frozen=True)
class TensorInfo:
    """One input or output: a dtype as numpy names it, a shape with -1 for any length, None for any shape at all."""

    dtype: str
    shape: tuple[int, ...] | None
    default: NDArray[Any] | None = None


@dataclass(frozen=True)
class Signature:
    """One way of calling a model."""

    key: str
    method: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    @property
    def default_k(self) -> int | None:
        """The k that the server uses when none is sent."""
        k = self.inputs.get(names.K)
        return None if k is None or k.default is None else int(k.default.reshape(-1)[0])

    @property
    def limits(self) -> dict[str, TensorInfo]:
        """The inputs k and min_score, if the signature has them: they limit what an answer keeps."""
        return {name: self.inputs[name] for name in names.LIMITS if name in self.inputs}

    @property
    def rounded(self) -> dict[str, str]:
        """The inputs that are sent in a dtype that numpy lacks: bfloat16, held as float32."""
        return {name: "bfloat16" for name, info in self.inputs.items() if info.dtype == "bfloat16"}


@dataclass(frozen=True)
class Metadata:
    """The signatures of one served version."""

    model: str
    version: int
    signatures: Mapping[str, Signature]

    def signature(self, key: str) -> Signature:
        """Return a signature by its key; raises InputError, which lists the keys, if there is none."""
        if key not in self.signatures:
            raise InputError(
                f"model {self.model} version {self.version} has no signature {key!r}, only {', '.join(self.signatures)}"
            )
        return self.signatures[key]

    def with_defaults(self, k: int, min_score: float) -> Self:
        """Return the metadata with a default k and min_score for each signature that takes them but declares none."""
        defaults = {names.K: np.array(k, np.int32), names.MIN_SCORE: np.array(min_score, np.float32)}

        def completed(signature: Signature) -> Signature:
            inputs = {
                name: replace(info, default=defaults[name]) if name in defaults and info.default is None else info
                for name, info in signature.inputs.items()
            }
            return replace(signature, inputs=inputs)

        signatures = {key: completed(signature) for key, signature in self.signatures.items()}
        return replace(self, signatures=signatures)


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version; `error` is empty unless loading it failed."""

    version: int
    state: str
    error: str = ""


@dataclass(frozen=True)
class ReplicaStatus:
    """The states of the versions at one address, or why they are not known."""

    address: str
    versions: tuple[VersionStatus, ...] = ()
    error: str = ""

    @property
    def available(self) -> bool:
        """Whether a version is available."""
        return any(version.state == "AVAILABLE" for version in self.versions)


@dataclass(frozen=True)
class ExportInfo:
    """The identity of a served model, as its signature `export_info` returns it."""

    export_id: str
    model: str
    k: int
    labels: tuple[str, ...]
    preprocessing: str | None
    golden_digest: str
    min_score: float = 0.0
    thresholds: tuple[float, ...] = ()

    @classmethod
    def from_outputs(cls, outputs: Mapping[str, NDArray[Any]]) -> Self:
        """Read an answer of `export_info`.

        Raises:
            DecodeError: if it does not hold exactly one identity.
        """

        def text(name: str) -> str:
            values = {bytes(value) for value in outputs[name].reshape(-1)}
            if len(values) != 1:
                raise DecodeError(f"{names.EXPORT_INFO} answers {len(values)} values of {name} instead of one")
            return values.pop().decode()

        try:
            k = np.unique(outputs[names.K])
            # Older exports lack these limits.
            min_score = np.unique(outputs.get(names.MIN_SCORE, np.zeros(1, np.float32)))
            thresholds = json.loads(text(names.THRESHOLDS)) if names.THRESHOLDS in outputs else []
            labels = json.loads(text(names.LABELS))
            lists = isinstance(labels, list) and isinstance(thresholds, list)
            if k.size != 1 or k.dtype.kind not in "iu" or min_score.size != 1 or not lists:
                limits = f"k {k.tolist()}, min_score {min_score.tolist()}, thresholds {thresholds!r}"
                raise DecodeError(f"{names.EXPORT_INFO} answers {limits} and labels {labels!r}")
            return cls(
                export_id=text(names.EXPORT_ID),
                model=text(names.MODEL),
                k=int(k[0]),
                labels=tuple(str(label) for label in labels),
                preprocessing=json.loads(text(names.PREPROCESSING)),
                golden_digest=text(names.GOLDEN_DIGEST),
                min_score=shortest(float(min_score[0])),
                thresholds=tuple(map(float, thresholds)),
            )
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise DecodeError(f"{names.EXPORT_INFO} does not answer with an identity: {error!r}") from error


def read_signatures(signature_defs: Mapping[str, Any]) -> dict[str, Signature]:
    """Return the signatures of a SignatureDefMap's entries, without those that TensorFlow adds for itself."""
    return {
        key: Signature(
            key=key,
            method=definition.method_name,
            inputs={
                name: _tensor_info(info, definition.defaults.get(name))
                for name, info in sorted(definition.inputs.items())
            },
            outputs={name: _tensor_info(info) for name, info in sorted(definition.outputs.items())},
        )
        for key, definition in sorted(signature_defs.items())
        if not key.startswith("__")
    }


def read_statuses(response: Any) -> tuple[VersionStatus, ...]:
    """Return the versions of a GetModelStatusResponse, newest first."""
    statuses = (
        VersionStatus(status.version, VERSION_STATES.get(status.state, str(status.state)), status.status.error_message)
        for status in response.model_version_status
    )
    return tuple(sorted(statuses, key=lambda status: -status.version))


def _tensor_info(info: Any, default: Any = None) -> TensorInfo:
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorInfo(type_name(info.dtype), shape, None if default is None else decode_tensor(default))
