"""Validation of identity: the version states what was exported."""

import json

import tensorflow as tf

from exporter.errors import ValidationError
from exporter.validation.expected import ExpectedBehavior
from exporter.validation.loaded import LoadedVersion
from signatures.contract import names
from signatures.contract.bounds import shortest


def validate_identity(version: LoadedVersion, expected: ExpectedBehavior) -> None:
    """Require that the version answers what export.json states, and its metadata declares what was exported."""
    answer = version.call(names.EXPORT_INFO, {})
    for name, exported in expected.info.items():
        served = answer[name][0]
        exported = list(exported) if name == names.THRESHOLDS else exported
        if isinstance(served, bytes):
            text = served.decode()
            served = json.loads(text) if name in (names.LABELS, names.PREPROCESSING, names.THRESHOLDS) else text
        if name == names.MIN_SCORE:
            served = shortest(served)
        if served != exported:
            raise ValidationError(f"export_info answers {name} = {served!r}, but {exported!r} was exported.")
    for signature in expected.signatures:
        definition = version.signatures[signature.key]
        for infos, specs in ((definition.inputs, signature.inputs), (definition.outputs, signature.outputs)):
            for name, spec in specs.items():
                shape, dtype = tf.TensorShape(infos[name].tensor_shape), tf.as_dtype(infos[name].dtype)
                if (repr(shape), dtype) != (repr(spec.shape), spec.dtype):
                    raise ValidationError(
                        f"The metadata of {signature.key} declares {name} as {dtype.name} {shape}, but "
                        f"{spec.dtype.name} {spec.shape} was exported."
                    )
