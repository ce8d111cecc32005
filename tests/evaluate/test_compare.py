"""Two variants on the same rows: the difference of a metric, and items won and lost."""

from __future__ import annotations

import random

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.compare import compare, difference, refuse_other_rows
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.intervals import mcnemar, swapped
from tuneladder.types import Answer, Marked

TRUTH = ["sport", "money"] * 20


def marked(answers: list[str]) -> tuple[Marked, ...]:
    pairs = enumerate(zip(answers, TRUTH, strict=True))
    return tuple(Marked(str(n), "", truth, Answer(said), said == truth) for n, (said, truth) in pairs)


def test_the_difference_is_that_of_the_two_scores() -> None:
    weak, strong = marked(["sport"] * 40), marked(TRUTH[:36] + ["sport"] * 4)
    found = difference(find_metric("accuracy"), weak, strong, ["sport", "money"], seed=0)
    assert found.value == pytest.approx(38 / 40 - 20 / 40)
    assert found.low < found.value < found.high
    assert found.p < 0.01
    assert found.count == 40
    back = difference(find_metric("accuracy"), strong, weak, ["sport", "money"], seed=0)
    assert back.value == pytest.approx(-found.value)
    assert difference(find_metric("macro_f1"), weak, weak, ["sport", "money"], seed=0).p == 1


def test_a_p_is_small_enough_to_be_corrected_for_many_comparisons() -> None:
    found = difference(find_metric("accuracy"), marked(["sport"] * 40), marked(TRUTH), ["sport", "money"], seed=0)
    assert found.p < 0.05 / 100


def test_items_are_matched_by_id() -> None:
    weak, strong = marked(["sport"] * 40), marked(TRUTH)
    contest = compare(strong, weak[::-1])
    assert (len(contest.won), len(contest.lost), contest.both, contest.neither) == (20, 0, 20, 0)
    with pytest.raises(BadInput, match="no item in common"):
        difference(find_metric("accuracy"), weak, (), seed=0)


def test_rows_of_another_task_are_refused() -> None:
    mine = marked(TRUTH)
    others = tuple(Marked(each.id, "another text", each.reference, each.answer, each.correct) for each in mine)
    refuse_other_rows(mine, marked(["sport"] * 40))
    with pytest.raises(BadInput, match="different rows: item 0"):
        refuse_other_rows(mine, others)


def test_answers_are_marked_against_all_of_a_rows_references() -> None:
    def one(said: str) -> tuple[Marked, ...]:
        return tuple(Marked(str(n), "", "sport", Answer(said), None, ("money", "gold")) for n in range(5))

    assert difference(find_metric("exact_match"), one("sport"), one("gold"), seed=0).value == 0
    assert difference(find_metric("exact_match"), one("sport"), one("rain"), seed=0).value == -1
    with pytest.raises(BadInput, match="measured on different rows"):
        refuse_other_rows(one("sport"), tuple(Marked(str(n), "", "sport", Answer("sport"), None) for n in range(5)))


def contests(right: list[bool], *, group: int) -> tuple[Marked, ...]:
    """Contests of which each `group` one after another are of one prompt."""
    return tuple(
        Marked(str(at), "", "chosen", Answer("chosen" if own else "rejected"), own, group=f"prompt {at // group}")
        for at, own in enumerate(right)
    )


def test_swapping_groups_of_one_item_is_mcnemars_test() -> None:
    for won, lost in ((0, 0), (1, 0), (5, 5), (9, 2), (40, 17), (300, 251)):
        assert swapped([1] * won + [-1] * lost) == pytest.approx(mcnemar(won, lost), rel=1e-9)
    assert swapped([3, 2, -1]) == pytest.approx(4 / 8)  # of 8 ways 3+2-1 and more: 6, 4, -4, -6
    assert swapped([0, 0]) == 1


def test_what_is_won_and_lost_by_the_prompt_is_no_evidence_of_its_own() -> None:
    """Of 30 prompts with eight contests each a wins whole ones and loses whole ones, as coins fall."""
    draw, metric = random.Random(0), find_metric("accuracy")
    alone = together = apart = 0
    for _ in range(60):
        own = [each for _ in range(30) for each in [draw.random() < 0.5] * 8]
        a, b = contests(own, group=8), contests([not each for each in own], group=8)
        found = compare(a, b)
        assert (found.groups, "whole prompts (30 of them)" in found.test) == (30, True)
        won = sum(own)
        assert found.p == pytest.approx(mcnemar(won // 8, 30 - won // 8))
        together += found.p < 0.05
        alone += compare(contests(own, group=1), contests([not each for each in own], group=1)).p < 0.05
        apart += difference(metric, b, a, seed=0).p < 0.05
    assert alone > 20
    assert together <= 4
    assert apart <= 8  # a bootstrap of so few groups is a little too sure


def test_what_goes_together_takes_as_many_more_items() -> None:
    own = [each for each in (True, True, False, True, True) for _ in range(4)]
    alone, together = (compare(contests(own, group=g), contests([not each for each in own], group=g)) for g in (1, 4))
    assert alone.needed
    assert together.needed == 4 * alone.needed
    assert (alone.groups, alone.test) == (None, "McNemar's exact p")
