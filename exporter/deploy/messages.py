"""The text of the configuration files that hold a message of the server."""

from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format, text_format

from exporter.errors import ExportError
from signatures.contract.server_messages import METRICS_PATH, batching_parameters, monitoring_config


def batching_config(batching: Mapping[str, Any]) -> str:
    """Return the text of a batching.config with these fields of BatchingParameters.

    Raises:
        ExportError: when the server would refuse them.
    """
    try:
        parameters = json_format.ParseDict(dict(batching), batching_parameters())
    except json_format.ParseError as error:
        raise ExportError(f"The batching parameters {dict(batching)} are not valid for a server: {error}") from None
    sizes = list(parameters.allowed_batch_sizes)
    largest = (
        parameters.max_execution_batch_size
        if parameters.enable_large_batch_splitting.value
        else parameters.max_batch_size
    ).value
    if sizes and (sizes != sorted(set(sizes)) or sizes[0] < 1 or sizes[-1] != largest):
        raise ExportError(
            f"allowed_batch_sizes are {sizes}; they must rise and end with the largest batch size, {largest}."
        )
    return text_format.MessageToString(parameters)


def metrics_config() -> str:
    """Return the text of a monitoring.config that enables the metrics page."""
    config = monitoring_config()
    config.prometheus_config.enable = True
    config.prometheus_config.path = METRICS_PATH
    return text_format.MessageToString(config)
