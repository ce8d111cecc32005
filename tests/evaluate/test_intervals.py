from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.intervals import bootstrap, holm, items_needed, mcnemar, mean_of_parts, paired_bootstrap, wilson


@pytest.mark.parametrize(("right", "count"), [(0, 10), (1, 10), (37, 100), (999, 1000), (10, 10)])
def test_wilson_is_scipys(right: int, count: int) -> None:
    want = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right, count) == pytest.approx((want.low, want.high), abs=1e-12)


def test_wilson_holds_its_own_share() -> None:
    for count in range(1, 200):
        for right in (0, count // 3, count):
            low, high = wilson(right, count)
            assert 0 <= low <= right / count <= high <= 1


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (5, 0), (3, 9), (40, 52), (700, 640)])
def test_mcnemar_is_the_exact_binomial_test(won: int, lost: int) -> None:
    want = binomtest(won, won + lost).pvalue if won + lost else 1.0
    assert mcnemar(won, lost) == pytest.approx(want)


def test_bootstrap_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    metric = np.column_stack([values, np.ones(2000)])
    low, high = bootstrap(metric, lambda sums: sums[:, 0] / sums[:, 1], seed=1, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)


def test_bootstrap_of_macro_f1_is_the_slow_one_and_quick() -> None:
    draw = np.random.default_rng(0)
    truth = draw.integers(0, 4, 1000).astype(str)
    answers = np.where(draw.random(1000) < 0.8, truth, draw.integers(0, 4, 1000).astype(str))
    metric = find_metric("macro_f1")
    statistics = metric.statistics(list(answers), [[true] for true in truth], list("0123"))
    start = time.process_time()
    low, high = bootstrap(statistics, metric.combine, seed=0)
    assert time.process_time() - start < 0.5
    slow = [f1_score(truth[drawn], answers[drawn], average="macro") for drawn in draw.integers(0, 1000, (150, 1000))]
    assert (low, high) == pytest.approx(tuple(np.quantile(slow, [0.025, 0.975])), abs=0.008)
    assert bootstrap(statistics, metric.combine, seed=0) == (low, high) != bootstrap(statistics, metric.combine, seed=1)


def test_blocks_do_not_change_the_draw_but_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.column_stack([np.arange(50.0), np.ones(50)])

    def mean(sums: np.ndarray) -> np.ndarray:
        return sums[:, 0] / sums[:, 1]

    whole = bootstrap(values, mean, seed=3)
    monkeypatch.setattr("tuneladder.evaluate.intervals._BLOCK", 170)
    assert bootstrap(values, mean, seed=3) == whole


def test_paired_bootstrap_sees_what_separate_intervals_hide() -> None:
    draw = np.random.default_rng(0)
    hard = draw.normal(size=400)
    a, b = (np.column_stack([hard + shift + 0.1 * draw.normal(size=400), np.ones(400)]) for shift in (0.0, 0.05))
    difference, low, high, p = paired_bootstrap(a, b, lambda sums: sums[:, 0] / sums[:, 1], seed=0)
    assert 0 < low < difference < high
    assert p < 0.01
    assert paired_bootstrap(a, a, lambda sums: sums[:, 0] / sums[:, 1], seed=0) == (0, 0, 0, 1)


def test_holm_is_the_worked_example() -> None:
    # Holm's own way by hand: 4 x 0.005, then 3 x 0.01, 2 x 0.03 and 1 x 0.04, which may not lie below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []


@pytest.mark.parametrize(("won", "lost"), [(60, 30), (100, 50), (300, 100), (50, 5)])
def test_so_many_items_tell_two_apart_four_times_in_five(won: int, lost: int) -> None:
    needed = items_needed(won, lost, 1000)
    assert needed is not None
    assert needed == items_needed(lost, won, 1000)
    random = np.random.default_rng(0)
    drawn = random.multinomial(needed, [won / 1000, lost / 1000, 1 - (won + lost) / 1000], size=2000)
    power = np.mean([mcnemar(int(a), int(b)) < 0.05 for a, b, _ in drawn])
    assert 0.76 < power < 0.88


def test_what_does_not_differ_is_never_told_apart() -> None:
    assert items_needed(7, 7, 100) is None
    assert items_needed(0, 0, 100) is None
    assert items_needed(20, 0, 20) == 6


def test_parts_count_alike_whatever_their_rows() -> None:
    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    draw = np.random.default_rng(0)
    parts = [np.column_stack([draw.normal(size=count), np.ones(count)]) for count in (2000, 200)]
    value, low, high = mean_of_parts([[(part, mean)] for part in parts], seed=1, resamples=4000)
    assert value == pytest.approx(np.mean([part[:, 0].mean() for part in parts]))
    half = 1.96 * np.sqrt(sum(part[:, 0].var() / len(part) for part in parts)) / 2
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.1 * half)
    # of two metrics of one part their mean counts
    twice = mean_of_parts([[(parts[0], mean), (parts[0], lambda sums: 3 * mean(sums))]], seed=1)
    assert twice[0] == pytest.approx(2 * parts[0][:, 0].mean())


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
def test_an_average_of_parts_with_few_rows_is_no_surer_than_it_may_be(rows: int) -> None:
    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    held = 0
    for seed in range(120):
        draw = np.random.default_rng(seed)
        chances = draw.uniform(0.3, 0.9, 30)
        parts = [[(np.column_stack([draw.random(rows) < chance, np.ones(rows)]), mean)] for chance in chances]
        value, low, high = mean_of_parts(parts, seed=seed, resamples=500)
        assert low <= value <= high
        held += low <= chances.mean() <= high
    assert held >= 109  # 114 of 120, and some luck


def test_a_part_of_one_row_widens_the_average_within_bounds() -> None:
    def mean(sums):
        return sums[:, 0] / sums[:, 1]

    many = np.column_stack([np.arange(400) % 10 > 0, np.ones(400)]).astype(float)
    value, low, high = mean_of_parts([[(many, mean)], [(np.ones((1, 2)), mean)]], seed=0)
    assert value == pytest.approx(0.95)
    assert low < 0.5 < value <= high <= 1.0
