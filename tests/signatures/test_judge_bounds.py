"""What the judge says of rows whose scores are bounded. Numbers are sums of powers of two, so differences are exact."""

import numpy as np
import pytest

from signatures.contract import names
from signatures.contract.bounds import bounds_of, shortest, strict_bounds
from signatures.contract.judge import judge_listed, judge_sparse
from signatures.contract.kept import Verdict
from signatures.contract.questions import ExportedLimits, questions
from signatures.contract.tolerances import Tolerance

EXACT = Tolerance(rtol=0, atol=0)
FINE = Tolerance(rtol=0, atol=2**-10)
LOOSE = Tolerance(rtol=1e-3, atol=1e-4)
NOISE = np.float32(2**-11)
N = 8
LABELS = np.array([label.encode() for label in "abcdefgh"], object)
DENSE = np.array([0.125, 0.75, 0.5, 0.25], np.float32)


def row(*scores):
    return np.array(scores, np.float32)


def kept_of(scores, k, bounds):
    """The contract: the k largest, less what is below its bound; best first."""
    best = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[:k]
    return [index for index in best if not (scores[index] < bounds[index] and bounds[index] > 0)]


def sparse(scores, kept):
    out = np.zeros_like(scores)
    out[kept] = scores[kept]
    return out


def listed(scores, kept, width):
    indices, values = np.full(width, -1, np.int32), np.zeros(width, np.float32)
    labels = np.full(width, b"", object)
    indices[: len(kept)], values[: len(kept)], labels[: len(kept)] = kept, scores[kept], LABELS[kept]
    return indices, values, labels


def verdicts(dense, served, kept, k, bounds, tolerance):
    return (
        judge_sparse(dense, sparse(served, kept), k, tolerance, bounds),
        judge_listed(dense, *listed(served, kept, k), LABELS, k, tolerance, bounds),
    )


def drawn(seed):
    """Scores of which some lie near each other and near bounds, those of a second run, and the bounds."""
    random = np.random.default_rng(seed)
    dense = random.random(N).astype(np.float32)
    near = random.choice(N, 4, replace=False)
    dense[near] = dense[near[0]]
    bounds = np.where(random.random(N) < 0.5, dense, random.choice([0, -1, 0.3, 0.6], N)).astype(np.float32)
    dense = np.abs(dense + random.uniform(-0.5, 0.5, N) * LOOSE.around(dense)).astype(np.float32)
    other = np.abs(dense + random.uniform(-0.99, 0.99, N) * LOOSE.around(dense)).astype(np.float32)
    return dense, other, bounds


def test_a_thousand_near_ties_at_bounds_raise_no_alarm_and_are_counted():
    counted = 0
    for seed in range(1000):
        dense, other, bounds = drawn(seed)
        for k in range(N + 1):
            kept = kept_of(other, k, bounds)
            for verdict in verdicts(dense, other, kept, k, bounds, LOOSE):
                assert verdict.problem == "", (seed, k, verdict)
                assert verdict.near_tie == (set(kept) != set(kept_of(dense, k, bounds)))
                counted += verdict.near_tie
    assert counted > 1000


def test_the_right_answer_passes_without_any_tolerance():
    for seed in range(300):
        dense, _, bounds = drawn(seed)
        for k in range(N + 1):
            for verdict in verdicts(dense, dense, kept_of(dense, k, bounds), k, bounds, EXACT):
                assert (verdict.problem, verdict.near_tie, verdict.difference) == ("", False, 0), (seed, k)


def test_any_other_kept_set_is_a_problem_where_nothing_is_near():
    random = np.random.default_rng(0)
    for _ in range(300):
        scores = random.permutation(np.arange(1, 17, dtype=np.float32) / 16)
        dense, bounds = scores[:N], np.where(random.random(N) < 0.7, scores[N:] + np.float32(1 / 32), 0)
        k = int(random.integers(1, N + 1))
        right, served = set(kept_of(dense, k, bounds)), set(random.choice(N, random.integers(0, k + 1), replace=False))
        order = [int(index) for index in np.argsort(-dense) if index in served]
        for verdict in verdicts(dense, dense, order, k, bounds.astype(np.float32), FINE):
            assert bool(verdict.problem) == (right != served), (right, served, verdict)


def test_a_score_below_its_bound_has_no_excuse():
    bounds = row(0, 0, 0.5, 0)
    verdict = judge_sparse(DENSE, row(0, 0.75, 0.5 - NOISE, 0), 2, FINE, bounds)
    assert verdict.problem == "entry 2 is kept with a score of 0.4995117, below its bound of 0.5"
    assert verdict.entry == 2


def test_what_is_missing_and_what_moved_up_is_named():
    missing = judge_sparse(DENSE, row(0, 0.75, 0, 0), 2, FINE, row(0, 0, 0.25, 0))
    assert missing.problem == "entry 2 (0.5) is missing: it is one of the 2 largest and reaches its bound of 0.25"
    unbounded = judge_sparse(DENSE, row(0, 0, 0.5, 0), 2, FINE, row(0, 0, 0.25, 0))
    assert unbounded.problem == "entry 1 (0.75) is missing: it is one of the 2 largest and has no bound"
    moved_up = judge_sparse(DENSE, row(0, 0.75, 0, 0.25), 2, FINE, row(0, 0, 0.75, 0))
    assert moved_up.problem == "entry 3 (0.25) is kept, and is not one of the 2 largest"


def test_an_entry_near_the_cut_may_take_the_place_of_one_that_its_bound_took_away():
    dense = row(0.75, 0.5 + NOISE, 0.5, 0.125)
    near = judge_sparse(dense, row(0.75, 0, 0.5, 0), 2, FINE, row(0, 0.75, 0, 0))
    assert (near.problem, near.near_tie) == ("", True)
    assert judge_sparse(dense, row(0.75, 0, 0.5, 0), 2, EXACT, row(0, 0.75, 0, 0)).problem


def test_equal_scores_keep_the_lower_index_under_a_bound_too():
    dense = row(0.75, 0.5, 0.5)
    assert judge_sparse(dense, row(0.75, 0.5, 0), 2, FINE, row(0.25, 0.25, 0.25)).problem == ""
    assert judge_sparse(dense, row(0.75, 0, 0.5), 2, FINE, row(0.25, 0.25, 0.25)).problem


def test_a_kept_zero_cannot_be_seen_and_a_list_shows_it():
    dense, bounds = row(0.5, 0, 0.25), row(0, 0, 0.5)
    assert judge_sparse(dense, row(0.5, 0, 0), 3, EXACT, bounds) == Verdict()
    listed_all = (np.array([0, -1, -1]), row(0.5, 0, 0), np.array([b"a", b"", b""], object))
    assert "entry 1 (0) is missing" in judge_listed(dense, *listed_all, LABELS[:3], 3, EXACT, bounds).problem


@pytest.mark.parametrize("place", [1, 2])
def test_a_list_has_no_gaps(place):
    indices, scores, labels = listed(np.repeat(DENSE, 2), [2, 4], 4)
    indices, scores, labels = (np.insert(array, place - 1, array[-1])[:4] for array in (indices, scores, labels))
    verdict = judge_listed(np.repeat(DENSE, 2), indices, scores, labels, LABELS, 4, FINE, np.full(N, 0.5, np.float32))
    assert "should be unused" in verdict.problem


def test_scores_at_their_bound_that_are_never_kept_are_one_problem_of_several_rows():
    dense, bounds = row(0.75, 0.5, 0.25), np.full(3, 0.5, np.float32)
    kept = judge_sparse(dense, row(0.75, 0.5, 0), 3, FINE, bounds)
    dropped = judge_sparse(dense, row(0.75, 0, 0), 3, FINE, bounds)
    noisy = judge_sparse(dense, row(0.75 + NOISE, 0, 0), 3, FINE, bounds)
    assert (kept.kept_at_bound, dropped.kept_at_bound, noisy.kept_at_bound) == (True, False, None)
    assert dropped.near_tie
    assert not dropped.problem
    assert "4 rows hold a score that equals its bound" in strict_bounds([dropped] * 4)
    for rows in ([dropped] * 3, [dropped] * 4 + [kept], [noisy] * 9, []):
        assert strict_bounds(rows) == ""


def test_bounds_are_the_higher_of_the_two_and_none_where_nothing_is_bounded():
    np.testing.assert_array_equal(bounds_of(0.25, (0.5, 0.125, 0), 3), row(0.5, 0.25, 0.25))
    assert bounds_of(-1, (), 3) is None
    assert bounds_of(0, (0.0, 0.0), 2) is None
    assert bounds_of(0.3, (), 1).dtype == np.float32


@pytest.mark.parametrize("value", [0.3, 0.1, 1e-6, 0.123456789, 1.0, 0.0])
def test_the_shortest_number_is_the_same_float32(value):
    assert np.float32(shortest(value)) == np.float32(value)
    assert shortest(shortest(value)) == shortest(float(np.float32(value)))


def test_no_question_has_a_bound_that_a_processor_may_take_for_zero():
    dense = np.array([[0, 1e-42, 1e-40, 0.5], [0, 0, 0, np.nan]], np.float32)
    limits = ExportedLimits(k=2)
    asked = list(questions(takes=names.LIMITS, exported=limits, dense=dense, thorough=True))
    sent = np.concatenate([each.sent[names.MIN_SCORE].reshape(-1) for each in asked if names.MIN_SCORE in each.sent])
    assert len(sent) > 5
    assert np.isfinite(sent).all()
    assert not ((sent != 0) & (np.abs(sent) < np.finfo(np.float32).tiny)).any()
