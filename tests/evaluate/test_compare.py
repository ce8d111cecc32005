"""Two variants on the same rows: the difference of a metric, and items won and lost."""

from __future__ import annotations

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.compare import compare, difference, refuse_other_rows
from tuneladder.evaluate.find import find_metric
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
