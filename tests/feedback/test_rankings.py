"""Rankings, with ties and failures, and what they say of each two."""

from __future__ import annotations

from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.rankings import Ranking, as_pairs, pairs_said, ranking_of
from tuneladder.types import Judgement


def test_a_ranking_is_a_list_with_ties_within_or_says_what_failed() -> None:
    assert ranking_of(["b", ["a", "c"]]) == Ranking((("b",), ("a", "c")))
    assert ranking_of('["b", "a"]') == Ranking((("b",), ("a",)))
    assert ranking_of({"ranked": ["b"], "failed": ["a", "c"]}) == Ranking((("b",),), ("a", "c"))
    assert ranking_of({"failed": ["a", "c"]}).names == ("a", "c")
    assert ranking_of([1, [], 2]).places == (("1",), ("2",))


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (["a"], "one answer cannot be ranked"),
        ([], "one answer cannot be ranked"),
        (["a", ["b", "a"]], "'a' is ranked twice"),
        ({"ranked": ["a"], "failed": ["a"]}, "'a' is ranked twice"),
        (["tie", "a"], "an answer is called 'tie'"),
        ({"best": ["a"]}, "is no ranking"),
        ("a > b", "is no ranking"),
        (3, "is no ranking"),
    ],
)
def test_what_is_none_is_refused(value: Any, word: str) -> None:
    with pytest.raises(BadInput, match=f"ann on item 1: .*{word}"):
        ranking_of(value, "ann on item 1")


def test_n_choose_2_pairs_and_of_two_failures_nothing_is_said() -> None:
    said = {
        (one, other): better for one, other, better in pairs_said(ranking_of({"ranked": ["d", ["a", "b"]], "failed": ["c", "e"]}))
    }
    assert said == {
        ("a", "b"): 0.5,
        ("a", "c"): 1.0,
        ("a", "d"): 0.0,
        ("a", "e"): 1.0,
        ("b", "c"): 1.0,
        ("b", "d"): 0.0,
        ("b", "e"): 1.0,
        ("c", "d"): 0.0,
        ("d", "e"): 1.0,
    }


def test_pairs_are_asked_one_way_or_the_other_for_all_labelers_alike() -> None:
    rankings = [["a", "b", "c"], [["a", "b", "c"]], ["c", "b", "a"]]
    said, pairs = as_pairs([Judgement(f"i{n}", f"w{n}{who}", "r", rankings[who], "7") for n in range(20) for who in range(3)])
    assert len(pairs) == 60
    ways = set()
    for each in said:
        pair, who = pairs[each.item], int(each.labeler[-1])
        ways.add(pair.name < pair.other)
        better = {0: pair.name < pair.other, 2: pair.name > pair.other}
        assert each.value == ("tie" if who == 1 else "yes" if better[who] else "no")
        assert (each.rubric, each.at) == ("r", "7")
    assert ways == {True, False}
