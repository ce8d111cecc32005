"""What is learned of judgements: pairs with weights and margins, and scores as they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.items import Item
from tuneladder.feedback.pairs import from_rankings, from_scores, rated, to_pairs, write_comparisons, write_rated
from tuneladder.task.comparisons import read_comparisons
from tuneladder.types import Judgement, Turn

ASK = (Turn("user", "Where is my parcel?"),)
ITEM = Item("q1", ASK, {"a": "On its way.", "b": "No idea.", "org/c": "Ask them."})
TALK = Item("q2", (Turn("system", "Be kind."), Turn("user", "Hi")), {"a": "Hello!", "b": "Hello! ", "d": "What?"})


def said(values: dict[str, Any], item: str = "q1") -> list[Judgement]:
    return [Judgement(item, who, "", value, "") for who, value in values.items()]


def found(exported: Any) -> dict[str, tuple[float, float]]:
    return {each.id: (pytest.approx(each.weight), pytest.approx(each.margin)) for each in exported.comparisons}


def test_a_ranking_is_n_choose_2_pairs_the_chosen_first() -> None:
    exported = from_rankings([ITEM], said({"ann": ["b", "org/c", "a"]}))
    assert found(exported) == {
        "q1: b over a": (1.0, 0.0),
        "q1: b over org/c": (1.0, 0.0),
        "q1: org/c over a": (1.0, 0.0),
    }
    first = exported.comparisons[0]
    assert (first.turns, first.chosen, first.rejected, first.source) == (ASK, "No idea.", "On its way.", "q1")


def test_the_weight_is_the_agreement_and_what_is_even_is_left_out() -> None:
    votes = {"ann": ["a", "b"], "ben": ["a", "b"], "cho": ["b", "a"], "dee": [["a", "b"]]}
    assert found(from_rankings([ITEM], said(votes))) == {"q1: a over b": (0.25, 0.0)}
    even = {"ann": ["a", "b", "org/c"], "ben": ["b", "a", "org/c"]}
    exported = from_rankings([ITEM], said(even))
    assert (set(found(exported)), exported.tied) == ({"q1: a over org/c", "q1: b over org/c"}, 1)
    # what somebody says again is no second voice
    again = [*said({"ann": ["a", "b"], "ben": ["b", "a"], "cho": ["a", "b"]}), *said({"ben": ["b", "a"]}) * 3]
    assert found(from_rankings([ITEM], again)) == {"q1: a over b": (1 / 3, 0.0)}


def test_who_fails_both_answers_was_asked_too() -> None:
    votes = {"ann": "a"} | dict.fromkeys(("ben", "cho", "dee", "eve"), "fail")
    assert found(from_rankings([ITEM], said(votes))) == {"q1: a over b": (0.2, 0.0), "q1: a over org/c": (0.2, 0.0)}
    half = {"ann": ["a", "b"], "ben": {"ranked": [], "failed": ["a", "b"]}}
    assert found(from_rankings([ITEM], said(half))) == {"q1: a over b": (0.5, 0.0)}


def test_a_choice_beats_all_others_and_a_tie_or_a_failure_is_of_all() -> None:
    assert set(found(from_rankings([ITEM], said({"ann": "b"})))) == {"q1: b over a", "q1: b over org/c"}
    exported = from_rankings([ITEM], said({"ann": "b", "ben": "tie"}))
    assert found(exported)["q1: b over a"] == (0.5, 0.0)
    exported = from_rankings([ITEM, TALK], [*said({"ann": "b"}), *said({"ann": "fail"}, "q2")])
    assert exported.failed == 3
    exported = from_rankings([TALK], said({"ann": ["d", "a", "b"]}, "q2"))
    assert exported.alike == 1  # a and b are the same text
    assert set(found(exported)) == {"q2: d over a", "q2: d over b"}


@pytest.mark.parametrize(
    ("judgements", "word"),
    [
        (said({"ann": "tie", "ben": [["a", "b", "org/c"]]}), "of 3 pairs none can be learned: they are all tied"),
        (said({"ann": "fail"}), "tied (0), equal texts (0) or failures (3)"),
        (said({"ann": "e"}), "no answer to item q1 (ann): 'e'"),
        (said({"ann": ["a", "z"]}), "'z'"),
        (said({"ann": "a"}, "q9"), "no item (judged by ann) 'q9'"),
        (said({"ann": "good"}, "q1/a"), "ann says 'good' of q1/a: a label prefers no answer to another"),
    ],
)
def test_what_teaches_nothing_is_refused(judgements: list[Judgement], word: str) -> None:
    with pytest.raises(BadInput) as refused:
        from_rankings([ITEM], judgements)
    assert word in str(refused.value)


def scored(values: dict[str, dict[str, float]], item: str = "q1") -> list[Judgement]:
    return [Judgement(f"{item}/{name}", who, "", value, "") for who, own in values.items() for name, value in own.items()]


VOTES = {"ann": {"a": 4, "b": 1, "org/c": 2}, "ben": {"a": 2, "b": 3, "org/c": 2}, "cho": {"a": 5, "b": 2}}


def test_scores_are_pairs_with_the_gap_of_their_means_as_margin() -> None:
    exported = from_scores([ITEM], scored(VOTES))
    # a has 11/3, b 2, org/c 2; of those who scored both, two of three prefer a to b, and one of two a to org/c
    assert found(exported) == {
        "q1: a over b": (1 / 3, 11 / 3 - 2),
        "q1: a over org/c": (0.5, 11 / 3 - 2),
    }
    assert exported.tied == 1
    assert from_scores([ITEM], scored(VOTES), at_least=1.6).tied == 1
    with pytest.raises(BadInput, match="all tied"):
        from_scores([ITEM], scored(VOTES), at_least=1.7)
    apart = {"ann": {"a": 4}, "ben": {"b": 1}}
    assert found(from_scores([ITEM], scored(apart))) == {"q1: a over b": (1.0, 3.0)}  # nobody scored both
    against = {"ann": {"a": 3, "b": 2}, "ben": {"a": 3, "b": 2}, "cho": {"a": 0, "b": 9}}
    with pytest.raises(BadInput, match="all tied"):  # the mean and most labelers take it otherwise
        from_scores([ITEM], scored(against))


def test_scores_as_they_are() -> None:
    answers = {each.answer: each for each in rated([ITEM], scored(VOTES))}
    own = answers["On its way."]
    assert (own.turns, own.score, own.count) == (ASK, pytest.approx(11 / 3), 3)
    assert own.spread == pytest.approx((14 / 9) ** 0.5)
    assert answers["Ask them."].count == 2


@pytest.mark.parametrize(
    ("judgements", "word"),
    [
        (scored({"ann": {"z": 1}}), "no answer to item q1 (ann): 'z'"),
        (scored({"ann": {"a": 1}}, "q7"), "ann scores 'q7/a', which is no answer of a known item"),
        ([Judgement("q1/a", "ann", "", "good", "")], "'good' is no score"),
        (scored({"ann": {"a": 1}}), "no two answers of one item were judged"),
    ],
)
def test_scores_of_what_is_not_known_are_refused(judgements: list[Judgement], word: str) -> None:
    with pytest.raises(BadInput) as refused:
        from_scores([ITEM], judgements)
    assert word in str(refused.value)


def test_numbers_are_scores_and_all_else_ranks() -> None:
    assert to_pairs([ITEM], scored(VOTES)) == from_scores([ITEM], scored(VOTES))
    assert to_pairs([ITEM], scored(VOTES), at_least=1.6) == from_scores([ITEM], scored(VOTES), at_least=1.6)
    assert to_pairs([ITEM], said({"ann": "b"})) == from_rankings([ITEM], said({"ann": "b"}))
    with pytest.raises(BadInput, match="these judgements are no scores"):
        to_pairs([ITEM], said({"ann": "b"}), at_least=1)


def test_numbers_that_name_answers_of_their_items_are_choices() -> None:
    item = Item("q1", ASK, {"1": "On its way.", "2": "No idea.", "3": "Ask them."})
    assert to_pairs([item], said({"ann": 2.0, "ben": 2.0, "cho": 1.0})) == to_pairs(
        [item], said({"ann": "2", "ben": "2", "cho": "1"})
    )
    with pytest.raises(BadInput, match="ann scores 'q1', which is no answer of a known item"):  # nothing is called 4
        to_pairs([item], said({"ann": 4.0, "ben": 2.0}))


def test_what_is_written_is_read_back_as_comparisons(tmp_path: Path) -> None:
    exported = from_rankings([ITEM, TALK], [*said({"ann": ["b", "a"], "ben": [["a", "b"]]}), *said({"ann": ["d", "a"]}, "q2")])
    path = tmp_path / "deep" / "pairs.jsonl"
    assert write_comparisons(path, exported.comparisons) == 2
    back = read_comparisons(str(path))
    assert [(each.turns, each.chosen, each.rejected, each.weight, each.margin, each.source) for each in back.comparisons] == [
        (each.turns, each.chosen, each.rejected, each.weight, each.margin, each.source) for each in exported.comparisons
    ]
    assert write_rated(tmp_path / "scores.jsonl", rated([ITEM], scored({"ann": {"a": 4}, "ben": {"a": 2}}))) == 1
    row = json.loads((tmp_path / "scores.jsonl").read_text("utf-8"))
    assert row == {"prompt": "Where is my parcel?", "completion": "On its way.", "score": 3.0, "count": 2, "spread": 1.0}
