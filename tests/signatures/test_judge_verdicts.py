"""What the judge says of one row, whole verdicts: the problem, its entry, whether it is a near tie, the difference.

All numbers are sums of powers of two, so that differences are exact.
"""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from signatures.contract.judge import Verdict, judge_dense, judge_listed, judge_sparse
from signatures.contract.tolerances import (
    CPU,
    DENSE_TOLERANCES,
    GPU,
    Tolerance,
    Tolerances,
    for_precision,
    with_backbone,
)

EXACT = Tolerance(rtol=0, atol=0)
EIGHTH = Tolerance(rtol=0, atol=0.125)
FINE = Tolerance(rtol=0, atol=2**-10)
DENSE = np.array([0.125, 0.75, 0.5, 0.25], np.float32)
LABELS = np.array([b"a", b"b", b"c", b"d"], object)
NOISE = np.float32(2**-11)


def row(*scores):
    return np.array(scores, np.float32)


@pytest.mark.parametrize(
    ("tolerance", "score", "allowed"),
    [
        (CPU.backbone, 0, 1e-5),
        (CPU.backbone, 1, 1.1e-4),
        (CPU.head, 0, 1e-6),
        (CPU.head, 1, 1.1e-5),
        (GPU.backbone, 0, 2e-3),
        (GPU.backbone, -1, 1.2e-2),
        (GPU.head, 0, 2e-4),
        (GPU.head, 1, 2.2e-3),
    ],
)
def test_the_tolerances_are_those_of_the_docs(tolerance, score, allowed):
    assert tolerance.around(row(score))[0] == pytest.approx(allowed, rel=1e-9)


def test_a_tolerance_of_zero_is_one():
    assert judge_dense(DENSE, DENSE, EXACT, 2) == Verdict()
    assert judge_dense(DENSE, DENSE + row(0, 0, 0, NOISE), EXACT, 2).entry == 3
    assert with_backbone(CPU, 0, 0).backbone == EXACT
    assert with_backbone(CPU, None, 0.5).backbone == Tolerance(rtol=CPU.backbone.rtol, atol=0.5)


def test_rtol_and_atol_cannot_be_mixed_up_nor_changed_for_all():
    for kind, values in ((Tolerance, (1e-3, 1e-4)), (Tolerances, (CPU.backbone, CPU.head))):
        with pytest.raises(TypeError):
            kind(*values)
    for value, name in ((CPU, "head"), (CPU.head, "rtol"), (Verdict(), "problem")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, None)


class TestDense:
    def test_names_the_first_score_that_differs_and_the_largest_difference(self):
        served = row(0.125, 0.5, 1, 0.25)
        problem = "the score is 0.5, expected 0.75 within 0.12"
        assert judge_dense(DENSE, served, EIGHTH, 2) == Verdict(problem, 1, difference=0.5)

    def test_a_difference_of_the_whole_tolerance_is_allowed(self):
        assert judge_dense(DENSE, row(0.125, 0.875, 0.5, 0.25), EIGHTH, 2) == Verdict(difference=0.125)

    @pytest.mark.parametrize(("k", "near_tie"), [(0, False), (1, True), (2, False)])
    def test_a_near_tie_is_a_difference_between_the_top_k_alone(self, k, near_tie):
        expected, served = row(0.5, 0.5625, 0.25), row(0.5625, 0.5, 0.25)
        assert judge_dense(expected, served, EIGHTH, k) == Verdict(near_tie=near_tie, difference=0.0625)


class TestSparse:
    @pytest.mark.parametrize(("k", "served"), [(0, row(0, 0, 0, 0)), (2, row(0, 0.75, 0.5, 0)), (4, DENSE)])
    def test_the_k_largest_and_nothing_else(self, k, served):
        assert judge_sparse(DENSE, served, k, EXACT) == Verdict()

    def test_too_many_names_the_first_beyond_k(self):
        problem = "3 scores are not zero, at most 2 may be"
        assert judge_sparse(DENSE, row(0.125, 0.75, 0.5, 0), 2, EXACT) == Verdict(problem, 0)
        assert judge_sparse(DENSE, row(0, 0.75, 0.5, 0.25), 2, EXACT) == Verdict(problem, 3)

    def test_a_kept_score_that_differs(self):
        served = row(0, 0.8125, 0.25, 0)
        assert judge_sparse(DENSE, served, 2, EIGHTH) == Verdict("the score is 0.25, dense 0.5", 2, difference=0.25)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_fewer_than_k_hide_a_score(self, sign):
        dense = np.where(DENSE < 0.5, sign * DENSE, DENSE)
        problem = f"only 2 of 4 scores are kept, and the dense {sign * 0.25:.7g} is missing"
        verdict = judge_sparse(dense, row(0, 0.875, 0.5, 0), 4, EIGHTH)
        assert verdict == Verdict(problem, 3, difference=0.125)

    def test_of_several_hidden_scores_the_first_is_named(self):
        problem = "only 2 of 4 scores are kept, and the dense 0.125 is missing"
        assert judge_sparse(DENSE, row(0, 0.75, 0.5, 0), 4, FINE) == Verdict(problem, 0)

    def test_fewer_than_k_hide_scores_within_the_tolerance_of_zero(self):
        served = row(0, 0.75, 0.5, 0.25)
        assert judge_sparse(DENSE, served + row(0, 0.125, 0, 0), 4, EIGHTH) == Verdict(difference=0.125)

    def test_a_swap_of_twice_the_tolerance_is_a_near_tie_and_of_more_is_not(self):
        kept_worse = row(0, 0, 0.5, 0)
        assert judge_sparse(DENSE, kept_worse, 1, EIGHTH) == Verdict(near_tie=True)
        assert judge_sparse(DENSE, row(0, 0.75, 0, 0.25), 2, EIGHTH) == Verdict(near_tie=True)
        problem = "entry 2 (0.5) is kept instead of entry 1 (0.75)"
        assert judge_sparse(DENSE, kept_worse, 1, FINE) == Verdict(problem, 2)

    def test_of_several_swaps_the_widest_is_judged(self):
        dense = row(0.5, 0.75, 0.25, 0.375, 1)
        served = row(0, 0, 0.25, 0.375, 1)
        problem = "entry 2 (0.25) is kept instead of entry 1 (0.75)"
        assert judge_sparse(dense, served, 3, EIGHTH) == Verdict(problem, 2)

    def test_equal_scores_may_swap_where_there_was_noise(self):
        dense = row(0.25, 0.25)
        assert judge_sparse(dense, row(0, 0.25 + NOISE), 1, FINE) == Verdict(near_tie=True, difference=float(NOISE))
        problem = "entry 1 (0.25) is kept instead of entry 0 (0.25)"
        assert judge_sparse(dense, row(0, 0.25), 1, FINE) == Verdict(problem, 1)

    def test_several_hundred_kept_scores(self):
        dense = np.linspace(0.5, 0.75, 600, dtype=np.float32)
        served = np.where(np.arange(600) > 299, dense, 0).astype(np.float32)
        served[[299, 300]] = dense[299], 0
        assert judge_sparse(dense, served, 300, FINE) == Verdict(near_tie=True)

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_what_is_not_finite(self, bad):
        broken = row(0, bad, 0.5, 0)
        assert judge_sparse(DENSE, broken, 2, EIGHTH) == Verdict(f"the served score is {bad}", 1)
        assert judge_sparse(broken, DENSE, 2, EIGHTH) == Verdict(f"the score to compare with is {bad}", 1)


def judge_top(indices, scores, labels, k, tolerance=FINE, dense=DENSE, width=4):
    """Judge a row that lists these, padded to the width."""
    padding = width - len(indices)
    return judge_listed(
        dense,
        np.array([*indices, *[-1] * padding], np.int32),
        np.array([*scores, *[0] * padding], np.float32),
        np.array([*labels, *[b""] * padding], object),
        LABELS,
        k,
        tolerance,
    )


class TestListed:
    @pytest.mark.parametrize("width", [2, 3, 4])
    def test_the_k_largest_best_first(self, width):
        assert judge_top([1, 2], [0.75, 0.5], [b"b", b"c"], 2, EXACT, width=width) == Verdict()

    @pytest.mark.parametrize("width", [0, 3])
    def test_none(self, width):
        assert judge_top([], [], [], 0, EXACT, width=width) == Verdict()

    @pytest.mark.parametrize(
        ("index", "score", "label"),
        [
            (3, 0, b""),
            (-2, 0, b""),
            (-1, 0.25, b""),
            (-1, -0.25, b""),
            (-1, 0, b"d"),
            (3, 0.25, b""),
            (3, 0, b"d"),
            (-1, 0.25, b"d"),
            (3, 0.25, b"d"),
        ],
    )
    @pytest.mark.parametrize("place", [2, 3])
    def test_an_unused_place_that_holds_something(self, place, index, score, label):
        between = place - 2
        verdict = judge_top(
            [1, 2, *[-1] * between, index],
            [0.75, 0.5, *[0] * between, score],
            [b"b", b"c", *[b""] * between, label],
            2,
        )
        found = (index, float(score), label.decode())
        assert verdict == Verdict(f"place {place} should be unused (-1, 0, ''), but holds {found}", place)

    @pytest.mark.parametrize("index", [-2, -1, 4, 5])
    def test_an_index_that_no_label_has(self, index):
        verdict = judge_top([1, index], [0.75, 0.5], [b"b", b"c"], 2)
        assert verdict == Verdict(f"place 1 holds the index {index}, outside 0 to 3", 1)

    def test_an_index_that_is_listed_twice(self):
        verdict = judge_top([1, 1, 2], [0.75, 0.75, 0.5], [b"b", b"b", b"c"], 3)
        assert verdict == Verdict("an index is listed twice: [1, 1, 2]")

    @pytest.mark.parametrize(("label", "shown"), [(b"a", "a"), (b"d", "d"), (b"\xff", "\\xff")])
    def test_a_label_of_another_index(self, label, shown):
        verdict = judge_top([1, 2], [0.75, 0.5], [b"b", label], 2)
        assert verdict == Verdict(f"index 2 is labeled {shown!r}, expected 'c'", 1)

    @pytest.mark.parametrize("place", [0, 1, 2])
    def test_lower_before_higher(self, place):
        order = [1, 2, 3, 0]
        order[place], order[place + 1] = order[place + 1], order[place]
        verdict = judge_top(order, DENSE[order], LABELS[order], 4)
        assert verdict == Verdict(f"places {place} and {place + 1} are out of order", place + 1)

    def test_equal_scores_list_the_lower_index_first(self):
        dense = row(0.25, 0.75, 0.5, 0.5)
        right = judge_top([1, 2, 3], [0.75, 0.5, 0.5], [b"b", b"c", b"d"], 3, dense=dense)
        wrong = judge_top([1, 3, 2], [0.75, 0.5, 0.5], [b"b", b"d", b"c"], 3, dense=dense)
        assert right == Verdict()
        assert wrong == Verdict("places 1 and 2 are out of order", 2)

    def test_a_score_that_differs(self):
        verdict = judge_top([1, 2], [0.75, 0.25], [b"b", b"c"], 2, EIGHTH)
        assert verdict == Verdict("the score of index 2 is 0.25, dense 0.5", 1, difference=0.25)

    def test_a_swap_is_a_near_tie_or_a_problem(self):
        near = judge_top([1, 3], [0.75 + NOISE, 0.25], [b"b", b"d"], 2, EIGHTH)
        far = judge_top([1, 3], [0.75, 0.25], [b"b", b"d"], 2)
        assert near == Verdict(near_tie=True, difference=float(NOISE))
        assert far == Verdict("entry 3 (0.25) is kept instead of entry 2 (0.5)", 3)

    def test_what_is_not_finite(self):
        assert judge_top([1, 2], [0.75, np.nan], [b"b", b"c"], 2) == Verdict("the served score is nan", 1)

    def test_several_hundred_places(self):
        dense = np.linspace(1, 0.5, 400, dtype=np.float32)
        labels = np.full(400, b"same", object)
        verdict = judge_listed(dense, np.arange(400), dense, labels, labels, 400, EXACT)
        assert verdict == Verdict()


def test_the_tolerance_follows_what_the_model_computes_in_and_never_what_a_user_chose():
    assert for_precision(CPU, None) == for_precision(CPU, "float32") == CPU
    half = for_precision(CPU, "mixed_float16")
    assert half.backbone == DENSE_TOLERANCES["mixed_float16"]
    assert half.head == CPU.head
    assert "differences that mixed_float16 makes by itself" in half.blind_to
    assert for_precision(GPU, "mixed_bfloat16").backbone == DENSE_TOLERANCES["mixed_bfloat16"]
    chosen = with_backbone(CPU, 0, 0)
    assert for_precision(chosen, "int8") == chosen
