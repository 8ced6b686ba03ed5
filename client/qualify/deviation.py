"""The deviation of the server's dense scores from the golden ones, by batch size, and the tolerances it requires."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from client.bench.requests import full_batches
from client.check.expectations import dense_scores
from client.check.requests import batches
from client.errors import InputError, ServerError
from client.rpc.metadata import Metadata, Target
from client.rpc.sequences import CallSequence
from client.samples.golden import Sample
from signatures.contract.answers import Scores
from signatures.contract.tolerances import CPU, DENSE_TOLERANCES, Tolerance, Tolerances

# The tolerances are this many times the largest deviation: other samples may differ more.
HEADROOM = 2.0
# No hardware explains more: bfloat16 is the coarsest precision that a server can compute in.
_WIDEST = DENSE_TOLERANCES["mixed_bfloat16"]
# Rounding a score of 0.5 to float16 moves it by up to this much.
_FLOAT16_STEP = 2.0**-12

_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, kw_only=True)
class SizeDeviation:
    """The deviation with one batch size.

    Attributes:
        rows: how many examples were compared.
        largest: the largest difference of a score from the golden one, `at` that golden score.
        between: the largest difference from the server's own score for the same example, sent alone.
        backbone: the largest difference from golden scores, as a multiple of what a check allows on a CPU.
        head: the same for the differences from the server's own scores.
    """

    batch: int
    rows: int
    largest: float
    at: float
    between: float
    backbone: float
    head: float


@dataclass(frozen=True, kw_only=True)
class Deviations:
    """The deviations by batch size, and why larger batches were not sent; "" if all were."""

    sizes: tuple[SizeDeviation, ...]
    refused: str


def deviations(
    address: str, target: Target, metadata: Metadata, samples: Sequence[Sample], sizes: Sequence[int]
) -> CallSequence[Deviations]:
    """Ask for the dense scores of golden samples in batches of each size. Samples are repeated to fill a batch.

    Raises:
        ServerError: if a single example is refused.
        InputError: if a sample has no golden scores.
        DecodeError: if an answer does not hold dense scores.
    """
    golden = [_golden(sample) for sample in samples]
    alone: dict[int, Scores] = {}
    by_size: list[SizeDeviation] = []
    for size in sizes:
        rows: list[int] = []
        served: list[Scores] = []
        for chosen in full_batches(samples, size):
            (batch,) = batches(samples, chosen, size)
            classes = len(golden[chosen[0]])
            try:
                dense = yield from dense_scores(address, target, metadata, batch.inputs, size, classes)
            except ServerError as error:
                if size == sizes[0] or error.code not in _REFUSALS:
                    raise
                return Deviations(sizes=tuple(by_size), refused=f"Batches of {size} were refused: {error}.")
            rows += chosen
            served += list(dense)
        if size == sizes[0]:
            alone = dict(zip(rows, served, strict=True))
        expected = np.stack([golden[row] for row in rows])
        by_size.append(compared(size, expected, np.stack(served), np.stack([alone[row] for row in rows])))
    return Deviations(sizes=tuple(by_size), refused="")


def _golden(sample: Sample) -> Scores:
    if sample.dense is None:
        raise InputError("a sample has no golden scores: pass a version directory that export-model wrote")
    return sample.dense


def compared(size: int, golden: Scores, served: Scores, alone: Scores) -> SizeDeviation:
    """Compare served scores [rows, N] with the golden ones, and with those of the same examples sent alone."""
    off, between = (_difference(served, other) for other in (golden, alone))
    place = np.unravel_index(np.argmax(off), off.shape)
    return SizeDeviation(
        batch=size,
        rows=len(served),
        largest=float(off[place]),
        at=float(golden[place]),
        between=float(between.max()),
        backbone=float((off / CPU.backbone.around(golden)).max()),
        head=float((between / CPU.head.around(golden)).max()),
    )


def _difference(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    off = np.abs(one.astype(np.float64) - other)
    # Two NaNs or equal infinities do not differ. A single one differs by infinity.
    same = (one == other) | (np.isnan(one) & np.isnan(other))
    return np.where(same, 0.0, np.where(np.isfinite(off), off, np.inf))


def needed_tolerances(found: Deviations) -> Tolerances | None:
    """Return HEADROOM times the largest deviations, and at least the tolerances for CPUs.

    Returns:
        The tolerances, or None if no hardware explains these deviations.
    """
    shares = {name: max(getattr(size, name) for size in found.sizes) for name in ("backbone", "head")}
    # The middle of the range: what is allowed for a score of 0.5.
    if shares["backbone"] * _at_half(CPU.backbone) > _at_half(_WIDEST):
        return None
    backbone, head = (_scaled(getattr(CPU, name), shares[name]) for name in ("backbone", "head"))
    return Tolerances(backbone=backbone, head=head, blind_to=_blind_to(backbone))


def _scaled(least: Tolerance, share: float) -> Tolerance:
    factor = max(1.0, HEADROOM * share)
    # Two digits, rounded up: more would claim false precision.
    rtol, atol = (_rounded_up(factor * value) for value in (least.rtol, least.atol))
    return Tolerance(rtol=rtol, atol=atol)


def _rounded_up(value: float) -> float:
    unit = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(f"{np.ceil(round(value / unit, 6)) * unit:.2g}")


def _at_half(tolerance: Tolerance) -> float:
    return tolerance.atol + tolerance.rtol / 2


def _blind_to(backbone: Tolerance) -> tuple[str, ...]:
    if backbone == CPU.backbone:
        return ()
    hidden = _at_half(backbone)
    differences = f"differences of less than {hidden:.1g} in a score of 0.5"
    return (differences, "scores rounded to float16") if hidden >= _FLOAT16_STEP else (differences,)
