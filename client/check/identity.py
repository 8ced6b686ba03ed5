"""Compare the identity of the served model, its `export_info` and its signatures, with the expected one."""

from collections.abc import Iterator, Mapping
from typing import Any

from client.rpc.metadata import ExportInfo, Metadata, Target, TensorInfo
from client.samples.golden import Expectation
from signatures.contract import names

_FIELDS = ("export_id", "model", "k", "min_score", "labels", "thresholds", "preprocessing", "golden_digest")


def identity_differences(
    expectation: Expectation, target: Target, served: ExportInfo, metadata: Metadata
) -> Iterator[str]:
    """Yield a sentence for each way in which the served model differs from the export or contradicts itself."""
    export = expectation.export
    if export is not None:
        if expectation.digest not in (None, export.golden_digest):
            yield (
                f"the golden file was changed: its SHA-256 is {expectation.digest}, "
                f"but export.json says {export.golden_digest}"
            )
        for field in _FIELDS:
            have, want = getattr(served, field), getattr(export, field)
            # For preprocessing, None is a value too: it means unknown.
            if have != want and (want is not None or field == "preprocessing"):
                hint = _other_version(expectation, target, metadata.version) if field == "export_id" else ""
                yield f"{field} is {_shown(have)}, expected {_shown(want)}{hint}"
        yield from _signature_differences(export.signatures or {}, metadata)
    yield from _default_differences(expectation, served, metadata)


def _default_differences(expectation: Expectation, served: ExportInfo, metadata: Metadata) -> Iterator[str]:
    export = expectation.export
    for name in names.LIMITS:
        expected = getattr(export, name, None)
        expected = getattr(served, name) if expected is None else expected
        for key, signature in metadata.signatures.items():
            default = signature.limits[name].default if name in signature.limits else None
            # Newer servers do not report defaults. The answers to requests without limits show them.
            if default is not None and (value := default.reshape(-1)[0]) != default.dtype.type(expected):
                yield f"the default {name} of signature {key} is {value}, expected {expected}"


def _other_version(expectation: Expectation, target: Target, answered: int) -> str:
    """Return a hint if the records belong to a different version than the one that answered, or ""."""
    if expectation.version in (None, answered):
        return ""
    advice = f"pass --version {expectation.version}"
    if target.label is not None:
        advice += f" instead of --label {target.label}"
    elif target.version is not None:
        advice = f"pass the records of version {answered} as --golden"
    return f": these are the records of version {expectation.version}, and version {answered} answered; {advice}"


def _signature_differences(stated: Mapping[str, Any], metadata: Metadata) -> Iterator[str]:
    for key, expected in stated.items():
        signature = metadata.signatures.get(key)
        if signature is None:
            yield f"signature {key} is not served"
            continue
        if signature.method != expected["method"]:
            yield f"the method of signature {key} is {signature.method}, expected {expected['method']}"
        for side, infos in (("inputs", signature.inputs), ("outputs", signature.outputs)):
            have = {name: _declared(info) for name, info in infos.items()}
            want = {name: f"{info['dtype']} {info['shape']}" for name, info in sorted(expected[side].items())}
            if have != want:
                yield f"the {side} of signature {key} are {have}, expected {want}"


def _declared(info: TensorInfo) -> str:
    return f"{info.dtype} {None if info.shape is None else list(info.shape)}"


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(value)
