"""The recommendation, from made-up curves."""

import numpy as np
import pytest

from client.qualify.deviation import Deviations, compared, needed_tolerances
from client.qualify.points import Point
from client.qualify.recommend import recommend


def point(batch, callers, milliseconds, rate):
    return Point(
        batch=batch,
        callers=callers,
        examples_per_second=rate,
        p50_ms=milliseconds,
        p99_ms=1.2 * milliseconds,
        calls=1000,
        windows=3,
        settled=True,
        errors={},
        limits=(),
    )


def run_ms(batch):
    """A device that takes no longer for 16 examples than for one, and then a tenth of a millisecond for each."""
    return 4.0 + 0.1 * max(0, batch - 16)


def alone():
    return [point(1 << n, 1, run_ms(1 << n), 1000 * (1 << n) / run_ms(1 << n)) for n in range(9)]


def several(size):
    """Two at once overlap; more only wait."""
    ms = run_ms(size)
    return [point(size, n, ms * max(1, n / 2), 1000 * size * min(n, 2) / ms) for n in (1, 2, 4, 8)]


def test_without_a_bound_the_smallest_size_near_the_best_throughput_is_taken():
    found = recommend(alone(), several, None)
    assert found.max_batch_size == 256
    assert found.num_batch_threads == 2
    # Up to 16 a run takes as long as one of 16: padding costs nothing.
    assert found.allowed_batch_sizes == (16, 32, 64, 128, 256)
    assert found.batch_timeout_micros == 2000


@pytest.mark.parametrize("bound", [12.0, 20.0, 30.0, 60.0, 200.0])
def test_the_bound_is_kept_and_used(bound):
    found = recommend(alone(), several, bound)
    size = found.max_batch_size
    assert found.expected_p99_ms <= bound
    assert found.expected_p99_ms == pytest.approx(found.batch_timeout_micros / 1000 + 2 * 1.2 * run_ms(size), rel=0.01)
    if size < 256:
        assert found.batch_timeout_micros / 1000 + 2 * 1.2 * run_ms(2 * size) > bound


def test_a_bound_below_the_fastest_run_has_no_recommendation():
    assert recommend(alone(), several, 5.0) is None
    assert recommend([], several, None) is None


def test_sizes_whose_calls_failed_are_not_recommended():
    points = [Point(**{**vars(one), "errors": {"UNAVAILABLE": 1} if one.batch > 8 else {}}) for one in alone()]
    assert recommend(points, several, None).max_batch_size == 8


def test_tolerances_follow_from_the_largest_deviation_of_any_size():
    golden = np.array([[0.5, 0.25], [0.125, 0.75]], np.float32)
    near, far = golden + np.float32(1e-5), golden.copy()
    far[1, 1] += 1e-3
    sizes = (compared(1, golden, near, near), compared(2, golden, far, near))
    found = needed_tolerances(Deviations(sizes=sizes, refused=""))
    assert sizes[1].at == 0.75
    allowed = found.backbone.around(golden)
    assert (np.abs(far - golden) <= allowed).all()
    # Twice what was seen, and no more than rounding up adds.
    assert allowed[1, 1] == pytest.approx(2e-3, rel=0.1)
    assert "differences of less than" in found.blind_to[0]


def test_equal_scores_need_no_more_than_a_cpu():
    golden = np.array([[0.5, 0.25]], np.float32)
    same = Deviations(sizes=(compared(1, golden, golden, golden),), refused="")
    assert needed_tolerances(same).backbone.rtol == 1e-4
    assert needed_tolerances(same).blind_to == ()


def test_a_score_that_is_not_finite_is_no_deviation_of_hardware():
    golden = np.array([[0.5, 0.25]], np.float32)
    broken = np.array([[np.nan, 0.25]], np.float32)
    assert needed_tolerances(Deviations(sizes=(compared(1, golden, broken, broken),), refused="")) is None
