"""What a median ratio and its spread promise, for any measurements."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ratios import ratio_of, take_turns, timed

MEASURED = st.floats(1e-6, 1e6)
PAIRS = st.lists(st.tuples(MEASURED, MEASURED), min_size=1, max_size=40)


def compared(pairs):
    return ratio_of(*zip(*pairs, strict=True))


@given(PAIRS)
def test_the_median_is_within_the_spread(pairs):
    found = compared(pairs)
    assert found.low <= found.ratio <= found.high
    assert found.pairs == len(pairs)


@given(PAIRS)
def test_swapping_the_sides_inverts_everything(pairs):
    found, swapped = compared(pairs), compared([(other, ours) for ours, other in pairs])
    assert swapped.ratio == pytest.approx(1 / found.ratio)
    assert swapped.low == pytest.approx(1 / found.high)
    assert swapped.high == pytest.approx(1 / found.low)
    assert (swapped.ours, swapped.other) == (found.other, found.ours)


@given(PAIRS, st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(pairs, factor):
    found, scaled = compared(pairs), compared([(ours * factor, other * factor) for ours, other in pairs])
    assert (scaled.ratio, scaled.low, scaled.high) == pytest.approx((found.ratio, found.low, found.high))


@given(PAIRS, st.randoms())
def test_the_order_of_the_pairs_does_not_matter(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    found, other = compared(pairs), compared(shuffled)
    assert (other.ratio, other.low, other.high) == pytest.approx((found.ratio, found.low, found.high))


@given(st.lists(MEASURED, min_size=1, max_size=40))
def test_a_drift_that_meets_both_sides_leaves_the_least_spread(times):
    found = ratio_of([2 * time for time in times], times)
    least = 1.05 if len(times) > 1 else 1
    assert (found.ratio, found.low, found.high) == pytest.approx((2, 2 / least, 2 * least))


@given(st.lists(MEASURED, min_size=20, max_size=40))
def test_nine_of_ten_of_many_pairs_are_within_the_spread(ratios):
    found = ratio_of(ratios, [1.0] * len(ratios))
    slack = 1 + 1e-9
    assert sum(found.low / slack <= one <= found.high * slack for one in ratios) >= 0.9 * len(ratios)


def test_few_pairs_have_a_wider_spread_than_their_range():
    found = ratio_of([1.0, 1.1, 1.2], [1.0, 1.0, 1.0])
    assert found.low < 1.0
    assert found.high > 1.2


def test_one_outlier_of_many_changes_nothing():
    calm = ratio_of([1.0] * 40, [1.0] * 40)
    assert ratio_of([1.0] * 39 + [50.0], [1.0] * 40).high == calm.high == pytest.approx(1.05)


@pytest.mark.parametrize("rounds", [5, 7, 25])
def test_another_run_nearly_always_finds_its_ratio_within_the_spread(rounds):
    random = np.random.default_rng(0)
    runs = [np.exp(random.normal(0, 0.2, (2, rounds))) for _ in range(400)]
    found = [(ratio_of(first, np.ones(rounds)), ratio_of(second, np.ones(rounds))) for first, second in runs]
    assert sum(first.low <= second.ratio <= first.high for first, second in found) >= 0.94 * len(found)


def test_works_take_turns_and_in_going_first():
    order = []
    works = {name: lambda name=name: order.append(name) or {"time": 1.0} for name in "abc"}
    found = take_turns(works, 4, 60)
    assert "".join(order) == "abcbcacababc"
    assert {name: len(measured) for name, measured in found.items()} == {"a": 4, "b": 4, "c": 4}


@pytest.mark.parametrize(("most", "expected"), [(100, 5), (2, 2)])
def test_out_of_time_there_are_five_rounds_or_as_many_as_wanted(most, expected):
    assert len(take_turns({"a": lambda: {}}, most, 0)["a"]) == expected


def test_a_short_call_is_repeated_and_its_time_is_that_of_one():
    calls = []
    turn = timed(lambda: calls.append(None), least_ms=1)
    before = len(calls)
    measured = turn()["time"]
    assert len(calls) - before > 100
    assert 0 < measured < 1
    assert math.isfinite(measured)
