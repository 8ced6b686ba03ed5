"""Make samples from named values, whatever kind of file they come from."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.errors import InputError
from client.rpc.metadata import Metadata, TensorInfo
from client.samples.golden import Sample
from client.samples.images import image_input, image_sample
from client.samples.rows import own_inputs, row, title
from signatures.contract import names

# The names of an image file in requests and tf.Examples.
IMAGE_NAMES = (names.ENCODED_IMAGES, names.IMAGE_FEATURE)


@dataclass(frozen=True)
class Served:
    """The served model that samples are made for.

    Attributes:
        metadata: the signatures of the served model.
        preprocessing: how pixels become its input, as `export_info` reports; None if that is unknown.
        signature: the key of the signature whose inputs the samples have.
    """

    metadata: Metadata
    preprocessing: str | None = None
    signature: str = names.SERVING_DEFAULT

    @property
    def inputs(self) -> dict[str, TensorInfo]:
        """The model's inputs, as the signature declares them."""
        return own_inputs(self.metadata.signature(self.signature))

    @property
    def labels(self) -> int | None:
        """The number of labels, or None if the signatures do not state it."""
        signature = self.metadata.signatures.get(names.SERVING_DEFAULT)
        dense = None if signature is None else signature.outputs.get(names.PROBABILITIES)
        shape = () if dense is None else dense.shape or ()
        return shape[1] if len(shape) == 2 and shape[1] > 0 else None


def sample_of(served: Served, values: Mapping[str, Any], source: str) -> Sample:
    """Return the sample of one example from its values by name: the model's inputs, or an image file.

    Raises:
        InputError: if the values do not fit the model; the message names the source and the input.
    """
    declared = served.inputs
    if (file := _image_file(declared, values)) is not None:
        try:
            image_input(served.metadata)
        except InputError as error:
            raise InputError(f"{source} holds an image, and {error}") from error
        return image_sample(file, source, served.metadata, served.preprocessing)
    if unknown := sorted(values.keys() - declared.keys()):
        raise InputError(f"{source} has an input {unknown[0]!r}, but the model's inputs are {', '.join(declared)}")
    missing = [name for name, info in declared.items() if name not in values and info.default is None]
    if missing:
        raise InputError(f"{source} has no input {missing[0]!r}, which the model needs")
    inputs = {}
    for name, value in values.items():
        try:
            inputs[name] = row(value, declared[name])
        except InputError as error:
            raise InputError(f"{source}: input {name} {error}") from error
    return Sample(inputs, title=title(inputs, source), source=source)


def _image_file(declared: Mapping[str, TensorInfo], values: Mapping[str, Any]) -> bytes | None:
    """Return the image file in the values, or None if they hold something else."""
    if len(values) != 1:
        return None
    ((name, value),) = values.items()
    if not isinstance(value, bytes):
        return None
    if name in declared:
        return None if declared[name].dtype == "string" else value
    return value if name in IMAGE_NAMES else None
