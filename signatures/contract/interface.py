"""What callers of a version rely on, and which changes break them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from signatures.contract import names

# As in export.json: for each signature, its method and the dtype and shape of each input and output.
Declared: TypeAlias = Mapping[str, Any]

# The inputs with a default, which servers fill in for requests over gRPC, but not over REST.
_WITH_DEFAULT = (*names.LIMITS, names.PROBE)


@dataclass(frozen=True)
class Interface:
    """What callers of a version rely on.

    Attributes:
        signatures: as in export.json.
        labels: the labels, by index; empty if they are unknown.
        preprocessing: how pixels become the model's input, or None if that is unknown.
        ours: whether our export wrote the version, so that its labels and preprocessing are known.
    """

    signatures: Declared
    labels: Sequence[str] = ()
    preprocessing: str | None = None
    ours: bool = True


def breaking_changes(before: Interface, after: Interface) -> list[str]:
    """Return the changes that break callers of one version if another one answers, each without a final period.

    Args:
        before: the version that they were written for.
        after: the version that would answer.

    Example:
        >>> probabilities = {"probabilities": {"dtype": "float32", "shape": [-1, 2]}}
        >>> images, pixels = ({name: {"dtype": "float32", "shape": [-1, 8, 8, 3]}} for name in ("images", "pixels"))
        >>> before, after = (
        ...     Interface({"fixed_k": {"method": "predict", "inputs": inputs, "outputs": probabilities}}, ["a", "b"])
        ...     for inputs in (images, pixels)
        ... )
        >>> breaking_changes(before, after)
        ['the input images is now called pixels: pass --input-name pixels=images to keep the name (fixed_k)']
    """
    # The signatures in which each change was found; empty if it concerns all of them.
    found: dict[str, list[str]] = {}
    for key, old in before.signatures.items():
        new = after.signatures.get(key)
        if new is None:
            found[f"the signature {key} is gone"] = []
            continue
        changes = [*_input_changes(old["inputs"], new["inputs"]), *_output_changes(old["outputs"], new["outputs"])]
        if old["method"] != new["method"]:
            changes.append(f"the method is {new['method']}, and was {old['method']}")
        for change in changes:
            found.setdefault(change, []).append(key)
    if before.ours:
        changes = [*_label_changes(before.labels, after.labels)]
        if before.preprocessing != after.preprocessing:
            changes.append(f"the preprocessing is {after.preprocessing}, and was {before.preprocessing}")
        found |= {change: [] for change in changes}
    return [f"{change} ({', '.join(keys)})" if keys else change for change, keys in found.items()]


def _input_changes(old: Declared, new: Declared) -> Iterator[str]:
    gone, added = [name for name in old if name not in new], [name for name in new if name not in old]
    if len(gone) == len(added) == 1 and old[gone[0]] == new[added[0]]:
        yield (f"the input {gone[0]} is now called {added[0]}: pass --input-name {added[0]}={gone[0]} to keep the name")
        gone = added = []
    yield from (f"the input {name} is gone" for name in gone)
    for name in added:
        if name in _WITH_DEFAULT:
            yield f"requests over REST must hold the new input {name}, which has a default for others"
        else:
            yield f"requests must hold the new input {name}"
    for name in old.keys() & new.keys():
        if old[name]["dtype"] != new[name]["dtype"]:
            yield f"the input {name} is {new[name]['dtype']}, and was {old[name]['dtype']}"
        elif not _takes(new[name]["shape"], old[name]["shape"]):
            yield f"the input {name} is of shape {_shown(new[name])}, and was of {_shown(old[name])}"


def _output_changes(old: Declared, new: Declared) -> Iterator[str]:
    for name, spec in old.items():
        if name not in new:
            yield f"the output {name} is gone"
        elif spec["dtype"] != new[name]["dtype"]:
            yield f"the output {name} is {new[name]['dtype']}, and was {spec['dtype']}"
        # `_label_changes` reports a different number of labels.
        elif name not in (names.PROBABILITIES, names.DENSE_PROBABILITIES) and not _takes(
            spec["shape"], new[name]["shape"]
        ):
            yield f"the output {name} is of shape {_shown(new[name])}, and was of {_shown(spec)}"


def _label_changes(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    removed = list((Counter(old) - Counter(new)).elements())
    if removed:
        yield f"{_counted(removed)} gone"
    there = set(new)
    moved = [label for place, label in enumerate(old) if label in there and (place >= len(new) or new[place] != label)]
    if moved:
        yield f"{_counted(moved)} at another index"


def _counted(labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return f"the label {labels[0]!r} is"
    return f"{len(labels)} labels, the first {labels[0]!r}, are"


def _takes(declared: Sequence[int] | None, sent: Sequence[int] | None) -> bool:
    """Return whether the declared shape admits everything of the sent shape; -1 is any size, None any shape."""
    if declared is None or sent is None:
        return declared is None
    return len(declared) == len(sent) and all(want in (-1, have) for want, have in zip(declared, sent, strict=True))


def _shown(spec: Mapping[str, Any]) -> str:
    shape = spec["shape"]
    return "any rank" if shape is None else "[" + ", ".join("any" if size == -1 else str(size) for size in shape) + "]"
