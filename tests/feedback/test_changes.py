"""What a new version of a guideline did to agreement."""

from __future__ import annotations

import numpy as np
import pytest

from tuneladder.feedback.alpha import alpha
from tuneladder.feedback.changes import Change, changes
from tuneladder.feedback.under import by_rubric
from tuneladder.types import Judgement


def judged(version: str, skill: float, *, items: range = range(80), at: float | None = None, seed: int = 0) -> list[Judgement]:
    """Three who are right so often, each letter else."""
    draw = np.random.default_rng(seed)
    return [
        Judgement(
            f"i{n}",
            who,
            f"tone@{version}",
            "abc"[n % 3] if draw.random() < skill else "abc"[draw.integers(3)],
            "" if at is None else str(at + n),
        )
        for n in items
        for who in ("ann", "ben", "cho")
    ]


def change(*parts: list[Judgement]) -> Change:
    (found,) = changes(by_rubric([each for part in parts for each in part]))
    return found


def test_a_better_guideline_is_seen_with_its_interval() -> None:
    before, after = judged("v1", 0.5), judged("v2", 0.95, seed=1)
    found = change(before, after)
    alphas = [alpha(under.table.counts, "nominal").value for under in by_rubric([*before, *after])]
    assert found.difference.value == pytest.approx(alphas[1] - alphas[0])
    assert 0.3 < found.difference.low < found.difference.value < found.difference.high
    assert found.p < 0.01
    assert (found.criterion, found.before, found.after, found.shared) == ("tone", "tone@v1", "tone@v2", 80)
    assert found.difference.count == 80


def test_what_changed_nothing_is_not_told_from_chance() -> None:
    found = change(judged("v1", 0.7), judged("v2", 0.7, seed=1))
    assert found.difference.low < 0 < found.difference.high
    assert found.p > 0.05


def test_items_judged_under_both_are_drawn_together() -> None:
    before = judged("v1", 0.7)
    better = [Judgement(each.item, each.labeler, "tone@v2", each.value, "") for each in before]
    paired = change(before, better).difference
    assert (paired.value, paired.low, paired.high) == (0, 0, 0)  # the same judgements: no draw of the items tells them apart
    elsewhere = [Judgement(f"other {each.item}", each.labeler, "tone@v2", each.value, "") for each in before]
    apart = change(before, elsewhere)
    assert (apart.shared, apart.difference.count) == (0, 160)
    assert apart.difference.high - apart.difference.low > 0.1


def test_versions_follow_each_other_by_time_or_else_as_they_stand() -> None:
    late, early = judged("v1", 0.6, at=9000), judged("v2", 0.9, at=0)
    assert change(late, early).before == "tone@v2"
    assert change(judged("v1", 0.6), early).before == "tone@v1"
    three = changes(by_rubric([*judged("a", 0.5), *judged("c", 0.6), *judged("b", 0.9)]))
    assert [(each.before, each.after) for each in three] == [("tone@a", "tone@c"), ("tone@c", "tone@b")]


def test_only_versions_of_one_criterion_are_compared() -> None:
    other = [Judgement(each.item, each.labeler, "order@v2", each.value, "") for each in judged("v2", 0.9)]
    assert changes(by_rubric([*judged("v1", 0.9), *other])) == ()
    bare = [Judgement(each.item, each.labeler, "tone", each.value, "") for each in judged("", 0.9)]
    assert changes(by_rubric([*judged("v1", 0.9), *bare])) == ()


def test_more_values_than_before_and_rankings_are_compared_too() -> None:
    two = [Judgement(f"i{n}", who, "s@1", float(n % 2), "") for n in range(20) for who in "ab"]
    five = [Judgement(f"i{n}", who, "s@2", float(n % 5 + (who == "b" and n % 3 == 0)), "") for n in range(20) for who in "ab"]
    found = change(two, five)
    assert found.level == "interval"
    assert found.difference.value < 0
    words = [Judgement(each.item, each.labeler, "s@3", f"v{each.value}", "") for each in five]
    assert change(two, words).level == "nominal"
    ranks = [[*"abc"], [*"bac"], [*"cab"]]
    ranked = [
        Judgement(f"i{n}", who, f"r@{v}", ranks[(n + v * (who == "y")) % 3], "") for v in (0, 1) for n in range(20) for who in "xy"
    ]
    found = change(ranked)
    assert (found.difference.value < -0.3, found.shared) == (True, 20)
