"""`models.config`: which versions of which models a server loads, and under which labels.

A running server polls the file, and accepts a new one as a whole or not at all. It checks the labels before it loads
anything: a label in use may only move to a version that is already loaded, while a new label may name any version
(`--allow_version_labels_for_unavailable_models`). So an edit that adds a version and moves a label to it at the same
time is refused at every poll, and the version is never loaded. An export therefore adds its version but never moves a
label; `serving-client promote`, which can see the server, does that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

MODELS_CONFIG = "models.config"
STABLE, CANARY = "stable", "canary"

_PLATFORM = "tensorflow"


@dataclass(frozen=True)
class MergedConfig:
    """A models.config with a new version in it.

    Attributes:
        text: what to write; the old text if nothing had to change.
        notes: what the user should know, one sentence each.
    """

    text: str
    notes: tuple[str, ...]


def merge_version(
    text: str, model: str, version: int, published: Mapping[str, Sequence[int]], serving_root: str
) -> MergedConfig:
    """Add a version that was just published, and every missing model, to a models.config.

    A model that is not listed yet is served with its newest version, as `stable`. A listed model keeps its labels, but
    if it has no `canary`, the new version gets that label. The server loads all versions with a label, the new one, and
    the one before the stable one, for rollbacks. A policy other than `specific` and everything else stay unchanged.

    Args:
        text: the file's content, or "" if there is none.
        model: the model of the version.
        version: the version's number.
        published: the versions of each model on disk, by model name.
        serving_root: where the server sees the directory that holds the models.

    Raises:
        ValueError: when `text` is not a ModelServerConfig with a list of models.

    Example:
        >>> print(merge_version("", "digits", 1, {"digits": [1]}, "/models").text)
        model_config_list {
          config {
            name: "digits"
            base_path: "/models/digits"
            model_platform: "tensorflow"
            model_version_policy {
              specific {
                versions: 1
              }
            }
            version_labels {
              key: "stable"
              value: 1
            }
          }
        }
        <BLANKLINE>
    """
    config = _parse(text)
    entries = {entry.name: entry for entry in config.model_config_list.config}
    before = config.SerializeToString(deterministic=True)
    notes: list[str] = []
    if model in entries:
        notes += _add_version(entries[model], version)
    for name, versions in sorted(published.items()):
        base_path = f"{serving_root.rstrip('/')}/{name}"
        if name not in entries:
            entry = config.model_config_list.config.add(name=name, base_path=base_path, model_platform=_PLATFORM)
            entry.model_version_policy.specific.versions.append(max(versions))
            entry.version_labels[STABLE] = max(versions)
        elif entries[name].base_path != base_path:
            notes.append(f"{MODELS_CONFIG} keeps {name} at {entries[name].base_path} instead of {base_path}.")
    notes += [
        f"{MODELS_CONFIG} lists {name}, which has no version here: a server opens no port until it has one."
        for name in entries
        if name not in published
    ]
    if config.SerializeToString(deterministic=True) == before:
        return MergedConfig(text, tuple(notes))
    if "#" in text:
        notes.append(f"{MODELS_CONFIG} was rewritten, without the comments that it had.")
    return MergedConfig(text_format.MessageToString(config), tuple(notes))


def read_models_config(file: Path) -> str:
    """Return the text of a models.config, or "" if there is none.

    Raises:
        ValueError: when it is not text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise ValueError(f"{MODELS_CONFIG} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def only_version(model: str, version: int, base_path: str) -> str:
    """Return a models.config with one version of one model, labeled `stable`.

    It is for a server that never reads another config.
    """
    config = model_server_config_pb2.ModelServerConfig()
    entry = config.model_config_list.config.add(name=model, base_path=base_path, model_platform=_PLATFORM)
    entry.model_version_policy.specific.versions.append(version)
    entry.version_labels[STABLE] = version
    return text_format.MessageToString(config)


def local_config(text: str, base_paths: Mapping[str, str]) -> str:
    """Return a models.config with the same versions and labels for a server that sees the models elsewhere.

    Args:
        text: the content of the models.config.
        base_paths: where that server sees each model. Other models are left out: it would wait for them forever.

    Raises:
        ValueError: when `text` is not a ModelServerConfig with a list of models.
    """
    config = model_server_config_pb2.ModelServerConfig()
    for entry in _parse(text).model_config_list.config:
        if entry.name in base_paths:
            config.model_config_list.config.add().CopyFrom(entry)
            config.model_config_list.config[-1].base_path = base_paths[entry.name]
    return text_format.MessageToString(config)


def named_versions(output: Path, model: str) -> frozenset[int]:
    """Return the versions of a model that deploy/models.config names, which a server may need.

    Raises:
        ValueError: when the file is not a ModelServerConfig with a list of models.
    """
    config = _parse(read_models_config(output / "deploy" / MODELS_CONFIG))
    return frozenset(
        version
        for entry in config.model_config_list.config
        if entry.name == model
        for version in (*entry.version_labels.values(), *entry.model_version_policy.specific.versions)
    )


def loaded_versions(text: str, published: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Return the published versions that a server with this models.config loads, by model.

    Raises:
        ValueError: when `text` is not a ModelServerConfig with a list of models.
    """
    loaded = {}
    for entry in _parse(text).model_config_list.config:
        versions, policy = sorted(published.get(entry.name, ())), entry.model_version_policy
        match policy.WhichOneof("policy_choice"):
            case "specific":
                versions = [version for version in versions if version in policy.specific.versions]
            case "latest":
                versions = versions[-max(policy.latest.num_versions, 1) :]
            case None:
                versions = versions[-1:]
        loaded[entry.name] = versions
    return loaded


def version_labels(output: Path) -> dict[str, dict[int, list[str]]]:
    """Return the labels of each version in deploy/models.config, by model and version.

    Raises:
        ValueError: when the file is not a ModelServerConfig with a list of models.
    """
    labels: dict[str, dict[int, list[str]]] = {}
    for entry in _parse(read_models_config(output / "deploy" / MODELS_CONFIG)).model_config_list.config:
        of_model = labels.setdefault(entry.name, {})
        for label, version in sorted(entry.version_labels.items()):
            of_model.setdefault(version, []).append(label)
    return labels


def _add_version(entry: Any, version: int) -> list[str]:
    """Let the server load one more version of a model, and drop those that are no longer needed."""
    if entry.model_version_policy.WhichOneof("policy_choice") != "specific":
        return [f"{MODELS_CONFIG} lets the server choose which versions of {entry.name} to load, and stays as it is."]
    listed = entry.model_version_policy.specific.versions
    labels = entry.version_labels
    if version in listed:
        return []
    notes = []
    kept = {*listed, version}
    if STABLE in labels:
        if labels.get(CANARY, version) == version:
            labels[CANARY] = version
        else:
            notes.append(
                f"{entry.name}: {CANARY} still names version {labels[CANARY]}. When servers have loaded version "
                f"{version}, move it with serving-client promote --version {version} --label {CANARY}."
            )
        before_stable = [number for number in listed if number < labels[STABLE]]
        kept = {version, *labels.values(), *before_stable[-1:]}
        if dropped := sorted(set(listed) - kept):
            numbers = ", ".join(map(str, dropped))
            notes.append(f"{entry.name}: servers unload version {numbers}, which no label names.")
    entry.model_version_policy.specific.versions[:] = sorted(kept)
    return notes


def _parse(text: str) -> Any:
    try:
        config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise ValueError(f"{MODELS_CONFIG} is not a ModelServerConfig in protobuf text format: {error}") from None
    if config.WhichOneof("config") == "custom_model_config":
        raise ValueError(f"{MODELS_CONFIG} has a custom_model_config, but a list of models is needed.")
    return config
