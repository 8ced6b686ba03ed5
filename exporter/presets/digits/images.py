"""Compose the preset's images from real scans of handwritten digits.

The scans are scikit-learn's `load_digits`, the test part of UCI's "Optical Recognition of Handwritten Digits": 8x8
pixels, 13 writers. They are in the order of the 14 filled-in forms that they were cut from, as the targets show: every
form asks for the same digits in the same order. So a split between two forms separates not only scans but also writers,
except for at most one writer, who may have filled in the forms on both sides of it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS = tuple(str(digit) for digit in range(8))
SIDE = 32
NO_SCAN = -1

# The row of load_digits where the eleventh form starts: ten forms are for training, the last four are held out.
HELD_OUT_FROM = 1287

_SCAN_SIDES = (12, 16)
_INK = (150, 255)
_BACKGROUND = (16, 56)
_NOISE = 16


@dataclass(frozen=True)
class Scans:
    """Scanned digits.

    `pixels` uint8 [S, 8, 8], 255 for full ink; `digits` int [S], what they show; `rows` int [S], rows in load_digits.
    """

    pixels: npt.NDArray[np.uint8]
    digits: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ComposedImages:
    """Images with their true labels.

    `pixels` uint8 [P, 32, 32, 1]; `labels` uint8 [P, 8], 1 for each digit in the image; `rows` int [P, 2], the rows in
    load_digits that the image was composed from, with NO_SCAN as the second if it has only one digit.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]


def load_scans() -> tuple[Scans, Scans]:
    """Return the training and the held-out scans of the digits 0 to 7, from different forms. Needs scikit-learn."""
    from sklearn.datasets import load_digits

    data = load_digits()
    pixels = (data.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    used = np.flatnonzero(data.target < len(LABELS))
    training, held_out = used[used < HELD_OUT_FROM], used[used >= HELD_OUT_FROM]
    return (
        Scans(pixels[training], data.target[training], training),
        Scans(pixels[held_out], data.target[held_out], held_out),
    )


def compose(scans: Scans, count: int, seed: int) -> ComposedImages:
    """Compose `count` images, half of them of one scan and half of scans of two different digits.

    Every digit is equally likely. Scans are scaled to 12 to 16 pixels a side, placed anywhere without overlap, and
    drawn with varying strength on a dark, noisy background. All random numbers are integers from the generator that
    NumPy keeps frozen, so the same arguments make the same images everywhere.

    Example:
        >>> training, held_out = load_scans()
        >>> compose(held_out, count=3, seed=7).pixels.shape
        (3, 32, 32, 1)
    """
    random = np.random.RandomState(seed)
    by_digit = [np.flatnonzero(scans.digits == digit) for digit in range(len(LABELS))]
    pixels = np.empty((count, SIDE, SIDE, 1), np.uint8)
    labels = np.zeros((count, len(LABELS)), np.uint8)
    rows = np.full((count, 2), NO_SCAN, np.int64)
    for image in range(count):
        digits = random.permutation(len(LABELS))[: random.randint(1, 3)]
        chosen = [by_digit[digit][random.randint(len(by_digit[digit]))] for digit in digits]
        pixels[image, :, :, 0] = _draw([scans.pixels[scan] for scan in chosen], random)
        labels[image, digits] = 1
        rows[image, : len(chosen)] = scans.rows[chosen]
    return ComposedImages(pixels, labels, rows)


def _draw(scans: "Sequence[npt.NDArray[np.uint8]]", random: np.random.RandomState) -> npt.NDArray[np.uint8]:
    """Return a uint8 [32, 32] image of the given 8x8 scans."""
    canvas = np.full((SIDE, SIDE), _between(random, _BACKGROUND), np.int64)
    for scan, (top, left, height, width) in zip(scans, _places(len(scans), random), strict=True):
        scaled = Image.fromarray(scan).resize((width, height), Image.Resampling.BICUBIC)
        ink = np.asarray(scaled, np.int64) * _between(random, _INK) // 255
        place = canvas[top : top + height, left : left + width]
        np.maximum(place, ink, out=place)
    # The sum of two uniform draws peaks in the middle; a normal draw would depend on the machine's logarithm.
    noise = random.randint(-_NOISE, _NOISE + 1, (2, SIDE, SIDE)).sum(axis=0)
    image: npt.NDArray[np.uint8] = np.clip(canvas + noise, 0, 255).astype(np.uint8)
    return image


def _places(count: int, random: np.random.RandomState) -> list[tuple[int, int, int, int]]:
    """Draw (top, left, height, width) of one or two boxes that do not overlap."""
    while True:
        places = []
        for _ in range(count):
            height, width = _between(random, _SCAN_SIDES), _between(random, _SCAN_SIDES)
            places.append((random.randint(SIDE - height + 1), random.randint(SIDE - width + 1), height, width))
        if count == 1 or _apart(*places):
            return places


def _apart(one: tuple[int, int, int, int], other: tuple[int, int, int, int]) -> bool:
    return any(
        one[axis] + one[axis + 2] <= other[axis] or other[axis] + other[axis + 2] <= one[axis] for axis in (0, 1)
    )


def _between(random: np.random.RandomState, bounds: tuple[int, int]) -> int:
    return int(random.randint(bounds[0], bounds[1] + 1))
