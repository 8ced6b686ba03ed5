"""Validation of guards: bad requests are refused."""

import grpc
import numpy as np

from exporter.errors import ValidationError
from exporter.validation.answers import FEW
from exporter.validation.calls import request_to
from exporter.validation.expected import Arrays, ExpectedBehavior
from exporter.validation.loaded import LoadedVersion
from server.errors import ServingError
from signatures.contract import names


def validate_guards(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that a wrong shape of any input or limit, a bound of NaN, and bytes that are not an image are refused."""
    samples = expected.samples.repeated(FEW)
    for key, signature in version.signatures.items():
        if key == names.EXPORT_INFO:
            continue
        good = request_to(version, expected, key, samples, expected.k, 0.0)
        for name in sorted(set(signature.inputs) & set(good)):
            if name in names.LIMITS:
                for shape in ([FEW + 1], [FEW, 1], [0]):
                    wrong = np.ones(shape, good[name].dtype)
                    _require_refusal(version, key, {**good, name: wrong}, f"{name} of shape {shape}")
            else:
                wrong = np.stack([good[name], good[name]], axis=-1)
                _require_refusal(version, key, {**good, name: wrong}, f"{name} of shape {list(wrong.shape)}")
            if name == names.MIN_SCORE:
                _require_refusal(version, key, {**good, name: np.array(np.nan, np.float32)}, f"{name} = NaN")
            if name == names.ENCODED_IMAGES or (key == names.CLASSIFY and name == names.EXAMPLES):
                broken = np.full(FEW, b"neither an image nor an example", object)
                _require_refusal(version, key, {**good, name: broken}, f"{name} that holds something else")


def _require_refusal(version: LoadedVersion, key: str, inputs: Arrays, what: str) -> None:
    try:
        version.call(key, inputs)
    except ServingError as error:
        if error.code is grpc.StatusCode.INVALID_ARGUMENT:
            return
        raise
    raise ValidationError(f"{key} answers a request with {what}, which it should refuse.")
