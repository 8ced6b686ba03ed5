"""Find the versions of a model on disk, and choose those that its policy names.

Follows file_system_storage_path_source.cc: any child of the base path whose name is an integer is a version, complete
or not.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from server.errors import invalid_argument

_INTEGER = re.compile(r"\s*[+-]?[0-9]+\s*", re.ASCII)
_INT64 = range(-(1 << 63), 1 << 63)


def find_versions(model: Any) -> dict[int, Path]:
    """Return the directories of the versions that are on disk and that the policy of a ModelConfig names."""
    try:
        children = sorted(os.listdir(model.base_path))
    except OSError as error:
        raise invalid_argument(
            f"Could not find base path {model.base_path} for servable {model.name} with error {error.strerror}"
        ) from None
    found = {
        int(child): Path(model.base_path, child)
        for child in children
        if _INTEGER.fullmatch(child) and int(child) in _INT64
    }
    return {version: found[version] for version in _chosen(model.model_version_policy, found)}


def _chosen(policy: Any, found: Mapping[int, Path]) -> list[int]:
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return sorted(found)
    if choice == "specific":
        return sorted(set(policy.specific.versions) & found.keys())
    return sorted(found)[-max(policy.latest.num_versions, 1) :]
