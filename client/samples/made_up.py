"""Make up samples: noise within what is known about each input."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.errors import InputError
from client.rpc.metadata import Metadata, TensorInfo
from client.samples.golden import Sample
from client.samples.images import image_input, image_sample, png
from client.samples.making import Served
from client.samples.rows import row, row_shape, title
from signatures.contract import names

_WORDS = ("a", "good", "day", "for", "old", "cats", "and", "new", "dogs", "in", "the", "red", "house")


@dataclass(frozen=True)
class Bound:
    """The bounds of an input's values.

    Attributes:
        ids: they are whole numbers from 0 to ids - 1, for an embedding of that many rows.
        words: they are these words; a text is several of them, with spaces between.
    """

    ids: int | None = None
    words: tuple[str, ...] = ()


def read_bounds(stated: Mapping[str, Any]) -> dict[str, Bound]:
    """Read the bounds that an export states for its inputs: by name, {"ids": N} or {"words": ["...", ...]}.

    Raises:
        InputError: if a bound has another form.

    Example:
        >>> read_bounds({"tokens": {"ids": 20000}, "text": {"words": ["cat", "dog"]}})["tokens"].ids
        20000
    """
    bounds = {}
    for name, bound in stated.items():
        match bound:
            case {"ids": ids} if len(bound) == 1 and type(ids) is int and ids > 0:
                bounds[name] = Bound(ids=ids)
            case {"words": [*words]} if len(bound) == 1 and words and all(isinstance(word, str) for word in words):
                bounds[name] = Bound(words=tuple(words))
            case _:
                raise InputError(
                    f'the bounds of input {name} are {bound!r}: they must be {{"ids": N}} or {{"words": ["...", ...]}}'
                )
    return bounds


def random_samples(
    metadata: Metadata,
    count: int,
    *,
    preprocessing: str | None = None,
    bounds: Mapping[str, Bound] | None = None,
    signature: str = names.SERVING_DEFAULT,
    length: int = 32,
    seed: int = 0,
) -> tuple[Sample, ...]:
    """Make up samples; the same arguments make the same samples.

    Floats are from 0 to 1, whole numbers are 0 or 1, words are from a short list, unless bounds are known. If the
    model takes images and the preprocessing is known, a sample is a PNG file of noise and the input made from it.

    Args:
        metadata: the signatures of the served model.
        count: how many to make.
        preprocessing: how pixels become the model's input, as `info` reports.
        bounds: what is known about inputs, by name.
        signature: the key of the signature whose inputs the samples have.
        length: the size of every dimension that has none declared, and the number of words in a text.
        seed: other seeds make other samples.

    Raises:
        InputError: if an input cannot be made up, or if the model does not have an input of `bounds`.

    Example:
        >>> samples = random_samples(metadata, 8, bounds={"tokens": Bound(ids=20000)})
        >>> samples[0].inputs["tokens"].shape
        (1, 32)
    """
    served = Served(metadata, preprocessing, signature)
    bounds = bounds or {}
    if unknown := sorted(bounds.keys() - served.inputs.keys()):
        raise InputError(f"bounds are given for an input {unknown[0]!r}, but the inputs are {', '.join(served.inputs)}")
    random = np.random.default_rng(seed)
    if _takes_images(served):
        return tuple(_image(served, random, length, number) for number in range(1, count + 1))
    samples = []
    for number in range(1, count + 1):
        inputs = {
            name: _made_up(name, info, bounds.get(name, Bound()), random, length)
            for name, info in served.inputs.items()
        }
        source = f"made up {number}"
        samples.append(Sample(inputs, title=title(inputs, source), source=source))
    return tuple(samples)


def _takes_images(served: Served) -> bool:
    if served.preprocessing is None or served.signature != names.SERVING_DEFAULT:
        return False
    try:
        _, (_, _, channels) = image_input(served.metadata)
    except InputError:
        return False
    return channels in (1, 3)


def _image(served: Served, random: np.random.Generator, length: int, number: int) -> Sample:
    _, (height, width, channels) = image_input(served.metadata)
    shape = (length if height == -1 else height, length if width == -1 else width, channels)
    pixels = random.integers(0, 256, shape, np.uint8)
    sample = image_sample(png(pixels), f"made up {number}", served.metadata, served.preprocessing)
    return replace(sample, exact=True)


def _made_up(name: str, info: TensorInfo, bound: Bound, random: np.random.Generator, length: int) -> NDArray[Any]:
    try:
        declared = row_shape(info)
        if declared is None:
            raise InputError("is declared with no shape")
        shape = [length if size == -1 else size for size in declared]
        return row(_values(info.dtype, shape, bound, random, length), info)
    except InputError as error:
        raise InputError(f"input {name} {error}, so nothing can be made up for it: pass samples") from error


def _values(dtype: str, shape: list[int], bound: Bound, random: np.random.Generator, length: int) -> Any:
    if dtype == "string":
        words = np.array(bound.words or _WORDS, object)
        # A single string is a text; one of several is a word.
        if np.prod(shape) > 1:
            return random.choice(words, shape)
        return np.full(shape, " ".join(random.choice(words, length)))
    if dtype == "bool":
        return random.integers(0, 2, shape).astype(bool)
    if dtype.startswith(("int", "uint")):
        return random.integers(0, bound.ids or 2, shape)
    # Embeddings take floats for ids too.
    return random.random(shape) if bound.ids is None else random.integers(0, bound.ids, shape)
