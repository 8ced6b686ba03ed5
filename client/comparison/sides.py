"""The two versions that are compared: what each reports about itself, and where they differ."""

from collections import Counter
from dataclasses import dataclass

from client.client import ServingClient
from client.comparison.results import LabelChanges
from client.rpc.metadata import ExportInfo, Metadata, Signature
from signatures.contract import names
from signatures.contract.interface import Interface, breaking_changes


@dataclass(frozen=True)
class Side:
    """One of the two versions. `info` is None if sparsehead did not export it."""

    metadata: Metadata
    info: ExportInfo | None

    @property
    def version(self) -> int:
        """The version number."""
        return self.metadata.version

    def signature(self, key: str) -> Signature | None:
        """Return a signature if it answers with probabilities, otherwise None."""
        signature = self.metadata.signatures.get(key)
        return signature if signature is not None and names.PROBABILITIES in signature.outputs else None

    def dense_key(self, key: str) -> str | None:
        """Return the signature with the same inputs and all scores, or None: only exports with thresholds have it."""
        found = {names.SERVING_DEFAULT: names.DENSE, names.ENCODED_IMAGES: names.ENCODED_IMAGES_DENSE}.get(key)
        return found if found in self.metadata.signatures else None


def read_side(client: ServingClient, version: int) -> Side:
    """Ask a version for its signatures and its identity."""
    metadata = client.metadata(version=version)
    return Side(metadata, client.info(version=version) if names.EXPORT_INFO in metadata.signatures else None)


def label_changes(before: Side, after: Side) -> LabelChanges:
    """Return how the labels differ, as far as both versions report them."""
    if before.info is None or after.info is None:
        return LabelChanges()
    old, new = before.info.labels, after.info.labels
    moved = (label for place, label in enumerate(old) if label in new and (place >= len(new) or new[place] != label))
    return LabelChanges(
        added=tuple((Counter(new) - Counter(old)).elements()),
        removed=tuple((Counter(old) - Counter(new)).elements()),
        moved=tuple(dict.fromkeys(moved)),
    )


def interface_changes(before: Side, after: Side) -> tuple[str, ...]:
    """Return what would break callers, other than labels."""
    return tuple(breaking_changes(_interface(before), _interface(after)))


def default_changes(before: Side, after: Side) -> tuple[str, ...]:
    """Return how the default limits differ, in sentences."""
    if before.info is None or after.info is None:
        return ()
    old, new = before.info, after.info
    found = []
    if old.k != new.k:
        found.append(f"The default k is {new.k}, and was {old.k}.")
    if old.min_score != new.min_score:
        found.append(f"The default min_score is {new.min_score:g}, and was {old.min_score:g}.")
    if old.thresholds != new.thresholds:
        found.append("The thresholds of the labels differ.")
    return tuple(found)


def _interface(side: Side) -> Interface:
    signatures = {
        key: {
            "method": signature.method,
            **{
                direction: {
                    name: {"dtype": info.dtype, "shape": None if info.shape is None else list(info.shape)}
                    for name, info in infos.items()
                }
                for direction, infos in (("inputs", signature.inputs), ("outputs", signature.outputs))
            },
        }
        for key, signature in side.metadata.signatures.items()
    }
    info = side.info
    return Interface(signatures, (), None if info is None else info.preprocessing, info is not None)
