"""Check a new configuration of models. Follows server_core.cc."""

from collections.abc import Mapping, Sequence
from typing import Any

from server.config import PLATFORM, check_base_path
from server.errors import invalid_argument


def check(models: Sequence[Any], old: Mapping[str, Any]) -> None:
    """Refuse ModelConfigs that contradict themselves, each other, or the old ones, given by name."""
    seen = set()
    for model in models:
        if model.name in seen:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        check_base_path(model.name, model.base_path)
    for model in models:
        if model.name in old and _platform(model) != _platform(old[model.name]):
            raise invalid_argument(
                f"Illegal to change a model's platform. For model {model.name} platform was "
                f"{_platform(old[model.name])} and new platform requested is {_platform(model)}"
            )


def check_platform(model: Any) -> None:
    """Refuse a ModelConfig for anything but TensorFlow."""
    platform = _platform(model)
    if platform != PLATFORM:
        raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def _platform(model: Any) -> str:
    if model.model_type:
        if model.model_platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if model.model_type != 1:
            raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        return PLATFORM
    platform: str = model.model_platform
    if not platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {model.name}"
        )
    return platform
