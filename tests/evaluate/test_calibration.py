"""Calibration against what can be worked out by hand, and what it says of variants that are known to be calibrated or not."""

from __future__ import annotations

import numpy as np
import pytest

from tuneladder.evaluate.calibration import calibration
from tuneladder.types import Answer, Marked


def rows(sure: list[float], right: list[bool]) -> list[Marked]:
    return [Marked(str(at), "", "a", Answer("a", own), correct) for at, (own, correct) in enumerate(zip(sure, right, strict=True))]


def drawn(count: int, *, power: float, seed: int) -> list[Marked]:
    """Rows whose chance to be right is what the variant says to this power."""
    draw = np.random.default_rng(seed)
    sure = draw.uniform(0.2, 1.0, count)
    return rows(sure.tolist(), (draw.random(count) < sure**power).tolist())


def test_the_error_is_the_mean_distance_over_the_bins() -> None:
    # five tens of rows as sure as one another, of which 8 are right, and five of which 5 are
    right = ([True] * 8 + [False] * 2) * 5 + ([True] * 5 + [False] * 5) * 5
    sure = [0.85 + 0.01 * (at // 10) for at in range(100)]
    found = calibration(rows(sure, right), seed=0)
    assert found is not None
    assert found.error.value == pytest.approx((0.05 + 0.06 + 0.07 + 0.08 + 0.09 + 0.4 + 0.41 + 0.42 + 0.43 + 0.44) / 10)
    assert found.error.low < found.error.value < found.error.high
    assert [own.right.value for own in found.bins] == pytest.approx([0.8] * 5 + [0.5] * 5)
    assert [own.confidence for own in found.bins] == pytest.approx(sure[::10])
    assert found.surest.value == pytest.approx(0.5)
    assert found.surest.count == 50


def test_rows_that_are_as_sure_are_in_one_bin() -> None:
    found = calibration(rows([0.9] * 80 + [0.95] * 20, [True] * 60 + [False] * 40), seed=0)
    assert found is not None
    assert [own.right.count for own in found.bins] == [80, 20]
    assert found.error.value == pytest.approx(0.8 * 0.15 + 0.2 * 0.95)
    other = calibration(rows([0.95] * 20 + [0.9] * 80, [False] * 40 + [True] * 60), seed=0)
    assert other is not None
    assert other.error.value == pytest.approx(found.error.value)


def test_answers_of_one_sort_are_no_certainty() -> None:
    # Wilson's interval of 0 of 50 reaches 3.8415 / 53.8415
    other = pytest.approx(0.07135, abs=1e-4)
    sure = calibration(rows([1.0] * 50, [True] * 50), seed=0)
    assert (sure.error.value, sure.error.low, sure.error.high) == (0, 0, other)
    lost = calibration(rows([0.8] * 50, [False] * 50), seed=0)
    assert (lost.error.value, lost.error.high) == (pytest.approx(0.8), pytest.approx(0.8))
    assert lost.error.low == pytest.approx(0.8 - 0.07135, abs=1e-4)
    modest = calibration(rows([0.95] * 50, [True] * 50), seed=0)
    assert (modest.error.low, modest.error.value) == (0, pytest.approx(0.05))  # 0.95 may be what it is right by
    assert modest.error.high == pytest.approx(0.05)
    # in bins of five: the 3.567 unseen ones that Wilson allows lie in one of them, which is 0.25 of a row off
    several = calibration(rows([0.95 + at * 1e-6 for at in range(50)], [True] * 50), seed=0)
    assert len(several.bins) == 10
    assert several.error.high == pytest.approx((9 * 0.25 + 3.567 - 0.25) / 50, abs=1e-3)
    assert several.error.interval == "wilson"


def test_chance_alone_explains_the_error_of_a_variant_that_errs_as_it_says() -> None:
    told = [calibration(drawn(300, power=1.0, seed=seed), seed=0) for seed in range(40)]
    assert sum(own.off for own in told if own) <= 6  # one in twenty, and some luck
    boasts = [calibration(drawn(300, power=3.0, seed=seed), seed=0) for seed in range(10)]
    assert all(own.off for own in boasts if own)


def test_the_interval_holds_its_value_and_the_truth() -> None:
    sure = np.sort(np.random.default_rng(0).uniform(0.2, 1.0, 200_000)).reshape(10, -1)
    for power, count in ((1.0, 100), (1.0, 500), (1.3, 100), (2.0, 500)):
        truth = float(np.abs((sure - sure**power).mean(1)).mean())
        found = [own.error for seed in range(60) if (own := calibration(drawn(count, power=power, seed=seed), seed=0))]
        assert all(own.low <= own.value <= own.high for own in found)
        assert sum(own.low <= truth <= own.high for own in found) >= 51  # 57 of 60, and some luck


def test_a_bin_never_counts_more_rows_than_it_has() -> None:
    found = calibration(drawn(137, power=1.0, seed=1), seed=0)
    assert found is not None
    assert sum(own.right.count for own in found.bins) == 137
    assert max(own.right.count for own in found.bins) - min(own.right.count for own in found.bins) <= 1
    assert [own.confidence for own in found.bins] == sorted(own.confidence for own in found.bins)


def test_the_order_of_the_rows_changes_nothing() -> None:
    own = drawn(200, power=2.0, seed=3)
    one, other = calibration(own, seed=0), calibration(own[::-1], seed=0)
    assert one is not None
    assert other is not None
    assert (one.error.value, one.bins) == (other.error.value, other.bins)


def test_nothing_is_said_where_nothing_is_known() -> None:
    own = drawn(100, power=1.0, seed=0)
    assert calibration(own[:19], seed=0) is None
    assert calibration([*own, Marked("x", "", "a", Answer("a"), True)], seed=0) is None  # an answer without confidence
    assert calibration([*own, Marked("x", "", "a", Answer("a", 0.5), None)], seed=0) is None  # neither right nor wrong
    assert calibration([], seed=0) is None
