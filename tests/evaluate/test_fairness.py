"""Scores by group: each with its interval and count, and a gap that knows what chance alone would make."""

from __future__ import annotations

import numpy as np
import pytest

from tuneladder.evaluate.fairness import Fairness, fairness
from tuneladder.evaluate.find import find_metric
from tuneladder.types import Answer, Marked

LABELS = ("a", "b")


def rows(rates: dict[str, tuple[int, float]], *, seed: int = 0) -> tuple[list[Marked], dict[str, str]]:
    """So many rows of each group, right with this chance."""
    draw = np.random.default_rng(seed)
    marked, groups = [], {}
    for name, (count, rate) in rates.items():
        for n in range(count):
            right = bool(draw.random() < rate)
            truth = LABELS[n % 2]
            groups[f"{name}{n}"] = name
            marked.append(Marked(f"{name}{n}", "", truth, Answer(truth if right else LABELS[1 - n % 2]), right))
    return marked, groups


def parted(rates: dict[str, tuple[int, float]], *, metric: str = "accuracy", least: int = 20, seed: int = 0) -> Fairness:
    marked, groups = rows(rates, seed=seed)
    found = fairness(find_metric(metric), marked, groups, LABELS, least=least, seed=0)
    assert found is not None
    return found


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "hamming_loss"])
def test_a_wide_gap_is_found_whichever_way_the_metric_is_better(metric: str) -> None:
    found = parted({"north": (150, 0.9), "south": (150, 0.6), "west": (60, 0.85)}, metric=metric)
    assert [(group.name, group.score.count) for group in found.groups] == [("north", 150), ("south", 150), ("west", 60)]
    for group in found.groups:
        assert group.enough
        assert group.score.low < group.score.value < group.score.high
    assert found.gap
    assert (found.gap.best, found.gap.worst, found.gap.wide) == ("north", "south", True)
    assert found.gap.score.value == pytest.approx(abs(found.groups[0].score.value - found.groups[1].score.value))
    assert 0 < found.gap.score.low < found.gap.score.value < found.gap.score.high
    assert found.gap.score.count == 300


def test_of_equal_groups_the_gap_is_seldom_more_than_chance() -> None:
    wide = [parted(dict.fromkeys("pqrst", (60, 0.7)), seed=seed).gap for seed in range(12)]
    assert sum(gap.wide for gap in wide if gap) <= 3  # one in twenty, and some luck


def test_the_interval_of_two_shares_is_as_wide_as_theirs() -> None:
    found = parted({"p": (400, 0.8), "q": (400, 0.7)}).gap
    assert found
    assert found.score.high - found.score.low == pytest.approx(2 * 1.96 * (0.2 * 0.8 / 400 + 0.3 * 0.7 / 400) ** 0.5, rel=0.15)


def test_small_groups_are_shown_and_not_compared() -> None:
    found = parted({"north": (50, 0.9), "south": (50, 0.8), "isle": (5, 0.0)})
    assert [group.enough for group in found.groups] == [False, True, True]
    assert found.gap
    assert "isle" not in (found.gap.best, found.gap.worst)
    assert parted({"north": (50, 0.9), "isle": (5, 0.0)}).gap is None
    assert parted({"north": (50, 0.9), "isle": (5, 0.0)}, least=5).gap is not None


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_groups_that_are_all_right_are_no_certainty(metric: str) -> None:
    found = parted({"north": (40, 1.0), "south": (40, 1.0)}, metric=metric).gap
    assert found
    assert found.score.value == 0
    assert found.score.low < 0 < found.score.high
    assert not found.wide


def test_rows_of_no_group_are_counted() -> None:
    marked, groups = rows({"north": (30, 0.9), "south": (30, 0.9)})
    left = {id: name for id, name in groups.items() if id != "north3"}
    found = fairness(find_metric("accuracy"), marked, left, LABELS, least=20, seed=0)
    assert found
    assert found.left_out == 1
    assert found.groups[0].score.count == 29
    assert fairness(find_metric("accuracy"), marked, {"other": "x"}, LABELS, least=20, seed=0) is None


def test_what_the_tasks_metric_marks_of_kept_answers_is_counted() -> None:
    marked = [Marked(f"r{n}", "", "Paris", Answer("Rome"), None, told="rome" if n < 20 else "") for n in range(60)]
    groups = {row.id: "north" if at < 30 else "south" for at, row in enumerate(marked)}
    found = fairness(find_metric("ungrounded"), marked, groups, (), least=20, seed=0)
    assert found
    assert found.gap
    assert [group.score.value for group in found.groups] == pytest.approx([2 / 3, 0.0])
    assert found.gap.best == "south"
