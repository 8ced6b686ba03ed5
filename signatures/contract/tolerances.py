"""How far apart two scores may be and still count as equal, depending on the hardware and the model's precision."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_PARTS = ("backbone", "head")


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far apart two values may be: atol + rtol * the magnitude of the expected value.

    Raises:
        ValueError: if one of them is negative or not finite.

    Example:
        >>> Tolerance(rtol=0.5, atol=0.25).around(np.array([1.0])).tolist()
        [0.75]
    """

    rtol: float
    atol: float

    def __post_init__(self) -> None:
        # No difference is larger than NaN: every answer would pass.
        if not (0 <= self.rtol < math.inf and 0 <= self.atol < math.inf):
            raise ValueError(
                f"rtol {self.rtol} and atol {self.atol} are not a tolerance: pass finite numbers that are not negative"
            )

    def around(self, expected: Floats) -> NDArray[np.float64]:
        """Return the allowed difference for each value."""
        return self.atol + self.rtol * np.abs(expected, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Tolerances:
    """How much two runs of one backbone may differ, and how much two answers of one server may.

    Attributes:
        backbone: for two runs of one backbone.
        head: for two answers of one server.
        blind_to: what a check with these tolerances cannot see.
    """

    backbone: Tolerance
    head: Tolerance
    blind_to: tuple[str, ...] = ()


# Different CPUs differ by about 1e-6 in float32. Rounding scores to float16 changes them by up to 5e-4. The head
# copies scores, so two answers of one server differ only through the order of a few additions.
CPU = Tolerances(backbone=Tolerance(rtol=1e-4, atol=1e-5), head=Tolerance(rtol=1e-5, atol=1e-6))
# GPUs use TF32 by default, which differs by about 1e-3 from a CPU's float32, and by as much between batch sizes.
GPU = Tolerances(
    backbone=Tolerance(rtol=1e-2, atol=2e-3),
    head=Tolerance(rtol=2e-3, atol=2e-4),
    blind_to=(
        "scores rounded to float16 or bfloat16",
        "weights that differ by less than about 1%",
        "the order of labels whose scores differ by less than about 0.5%",
    ),
)


_FLOAT32, _FLOAT16 = CPU.backbone, Tolerance(rtol=1e-2, atol=5e-3)

# How far apart two runs of one model may be, by its precision. Where activations are rounded to integers, a difference
# in the last bit of a float can become a whole step: quantized layers are as coarse as float16.
DENSE_TOLERANCES: Mapping[str, Tolerance] = {
    "float64": _FLOAT32,
    "float32": _FLOAT32,
    "mixed_float16": _FLOAT16,
    **dict.fromkeys(("gptq", "awq", "float8", "int8", "int4"), _FLOAT16),
    "mixed_bfloat16": Tolerance(rtol=5e-2, atol=2e-2),
}


def for_precision(tolerances: Tolerances, precision: str | None) -> Tolerances:
    """Return tolerances at least as wide as a precision needs: the one in export.json, or None for float32.

    Tolerances that a user chose stay as they are: only CPU and GPU are widened.
    """
    needed = DENSE_TOLERANCES.get(precision or "float32", _FLOAT32)
    given = tolerances.backbone
    if tolerances not in (CPU, GPU) or (needed.rtol <= given.rtol and needed.atol <= given.atol):
        return tolerances
    blind = f"differences that {precision} makes by itself"
    wider = Tolerance(rtol=max(needed.rtol, given.rtol), atol=max(needed.atol, given.atol))
    return replace(tolerances, backbone=wider, blind_to=(*tolerances.blind_to, blind))


def with_backbone(tolerances: Tolerances, rtol: float | None, atol: float | None) -> Tolerances:
    """Return the tolerances with another rtol and atol for the backbone; None keeps what is there.

    Raises:
        ValueError: if a tolerance is negative or not finite.

    Example:
        >>> with_backbone(CPU, rtol=0.5, atol=None).backbone.rtol
        0.5
    """
    given = {name: value for name, value in (("rtol", rtol), ("atol", atol)) if value is not None}
    return replace(tolerances, backbone=replace(tolerances.backbone, **given))


def read_tolerances(stated: Any) -> Tolerances:
    """Return the tolerances in the JSON object that `serving-client qualify` or `check --json` wrote.

    Raises:
        ValueError: if it holds no tolerances.

    Example:
        >>> bound = {"rtol": 0.5, "atol": 0.25}
        >>> read_tolerances({"tolerances": {"backbone": bound, "head": bound}}).head.atol
        0.25
    """
    try:
        found = stated["tolerances"]
        each = {name: Tolerance(**{key: float(found[name][key]) for key in ("rtol", "atol")}) for name in _PARTS}
        return Tolerances(**each, blind_to=tuple(map(str, found.get("blind_to", ()))))
    except (KeyError, TypeError) as error:
        raise ValueError("it holds no tolerances of the backbone and of the head, each with rtol and atol") from error
