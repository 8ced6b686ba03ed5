import numpy as np
import pytest

pytest.importorskip("hypothesis", reason="hypothesis makes up the values")

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from signatures.contract.judge import judge_dense, judge_listed, judge_sparse, ranking
from signatures.contract.tolerances import CPU, Tolerance, with_backbone

N = 8
LABELS = np.array([label.encode() for label in "abcdefgh"], object)
LOOSE = Tolerance(rtol=1e-3, atol=1e-4)


def top(scores, k):
    """The k largest, written as the head is meant: stable, best first."""
    return sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]


def sparse(scores, k):
    row = np.zeros_like(scores)
    row[top(scores, k)] = scores[top(scores, k)]
    return row


def listed(scores, k, width=N):
    indices, values = np.full(width, -1, np.int32), np.zeros(width, np.float32)
    labels = np.full(width, b"", object)
    indices[:k], values[:k] = top(scores, k), scores[top(scores, k)]
    labels[:k] = [LABELS[index] for index in indices[:k]]
    return indices, values, labels


def near_ties(seed):
    """Scores of which some lie within the tolerance of each other, and those of a second, noisy run."""
    random = np.random.default_rng(seed)
    dense = random.random(N).astype(np.float32)
    chosen = random.choice(N, random.integers(2, N), replace=False)
    dense[chosen] = dense[chosen[0]]
    dense += (random.uniform(-1, 1, N) * LOOSE.around(dense)).astype(np.float32) * 0.5
    other = dense + random.uniform(-0.99, 0.99, N) * LOOSE.around(dense)
    return np.abs(dense), np.abs(other).astype(np.float32)


def test_a_thousand_near_ties_raise_no_alarm_and_are_counted():
    counted = 0
    for seed in range(1000):
        dense, other = near_ties(seed)
        for k in range(N + 1):
            verdicts = (
                judge_sparse(dense, sparse(other, k), k, LOOSE),
                judge_listed(dense, *listed(other, k), LABELS, k, LOOSE),
            )
            for verdict in verdicts:
                assert verdict.problem == "", (seed, k, verdict)
                assert verdict.near_tie == (set(top(dense, k)) != set(top(other, k)))
                counted += verdict.near_tie
        assert judge_dense(dense, other, LOOSE, 2).problem == ""
    assert counted > 1000


def test_a_swap_beyond_twice_the_tolerance_is_a_problem():
    dense = np.array([0.5, 0.5 + 4 * 6e-4, 0.1, 0], np.float32)
    answer = np.array([0.5, 0, 0, 0], np.float32)
    assert "entry 0 (0.5) is kept instead of entry 1" in judge_sparse(dense, answer, 1, LOOSE).problem


@pytest.mark.parametrize("row", [sparse, None])
def test_equal_scores_without_noise_must_keep_the_lower_index(row):
    dense = np.full(N, 0.25, np.float32)
    higher = np.zeros(N, np.float32)
    higher[-2:] = 0.25
    if row:
        assert judge_sparse(dense, row(dense, 2), 2, CPU.head).problem == ""
        assert "is kept instead of" in judge_sparse(dense, higher, 2, CPU.head).problem
    else:
        wrong = (np.array([6, 7]), np.full(2, 0.25, np.float32), LABELS[6:])
        assert "is kept instead of" in judge_listed(dense, *wrong, LABELS, 2, CPU.head).problem
        disordered = (np.array([1, 0]), np.full(2, 0.25, np.float32), LABELS[1::-1])
        assert "out of order" in judge_listed(dense, *disordered, LABELS, 2, CPU.head).problem


def test_zeros_may_be_among_the_kept_but_nothing_else_may_be_missing():
    dense = np.array([0, 0.5, 0, 0], np.float32)
    assert judge_sparse(dense, dense, 3, CPU.head).problem == ""
    dense[3] = 0.25
    answer = np.array([0, 0.5, 0, 0], np.float32)
    assert "only 1 of 3 scores are kept" in judge_sparse(dense, answer, 3, CPU.head).problem


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_never_passes(bad):
    good = np.linspace(0.1, 0.8, N, dtype=np.float32)
    broken = good.copy()
    broken[3] = bad
    for dense, served in ((good, broken), (broken, broken), (broken, good)):
        assert judge_dense(dense, served, LOOSE, 2).problem
        assert judge_sparse(dense, served, N, LOOSE).problem
    assert judge_listed(good, *listed(broken, N), LABELS, N, LOOSE).problem


def test_ranking_puts_nan_first_then_higher_scores_then_lower_indices():
    assert ranking(np.array([0.1, 0.5, np.nan, 0.5, -np.inf], np.float32)).tolist() == [2, 1, 3, 0, 4]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-9])
def test_a_tolerance_that_would_let_all_pass_is_refused(value):
    for tolerance in ({"rtol": value, "atol": 0}, {"rtol": 0, "atol": value}):
        with pytest.raises(ValueError, match="finite"):
            Tolerance(**tolerance)


def test_only_the_tolerances_given_are_replaced():
    changed = with_backbone(CPU, 0.5, None)
    assert changed.backbone == Tolerance(rtol=0.5, atol=CPU.backbone.atol)
    assert changed.head == CPU.head


SCORES = hnp.arrays(np.float32, N, elements=st.floats(0, 1, width=32, allow_subnormal=False))
TIED = hnp.arrays(np.float32, N, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0]))


@settings(max_examples=300)
@given(st.one_of(SCORES, TIED), st.integers(0, N))
def test_the_right_answer_to_any_scores_passes_exactly(dense, k):
    exact = Tolerance(rtol=0, atol=0)
    sparse_verdict = judge_sparse(dense, sparse(dense, k), k, exact)
    listed_verdict = judge_listed(dense, *listed(dense, k), LABELS, k, exact)
    for verdict in (sparse_verdict, listed_verdict, judge_dense(dense, dense, exact, k)):
        assert verdict.problem == ""
        assert not verdict.near_tie
        assert verdict.difference == 0
