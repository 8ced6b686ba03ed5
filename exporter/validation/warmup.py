"""Validation of warm-up: no record keeps a server from loading the version."""

from exporter.errors import ValidationError, reason
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.loaded import LoadedVersion
from exporter.writing.prediction_logs import read_requests
from server.errors import ServingError
from signatures.contract import names


def validate_warmup(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that every warm-up request succeeds, also by the rules of the server's own batching."""
    for number, (key, inputs) in enumerate(read_requests(version.directory / names.ASSETS_EXTRA / names.WARMUP_FILE)):
        lengths = {array.shape[:1] for array in inputs.values()}
        if len(lengths) != 1 or not all(lengths):
            raise ValidationError(f"Warm-up request {number} to {key} has inputs of different lengths: {lengths}.")
        try:
            version.call(key, inputs)
        except ServingError as error:
            raise ValidationError(f"Warm-up request {number} to {key} fails: {reason(error)}.") from error
