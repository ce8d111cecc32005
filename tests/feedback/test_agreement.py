"""All that judgements say of themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.agreement import Agreement, agreement
from tuneladder.feedback.items import Item, as_rankings
from tuneladder.feedback.under import by_rubric
from tuneladder.types import Judgement, Turn


def said(by_labeler: dict[str, Any], rubric: str = "") -> list[Judgement]:
    return [Judgement(f"i{n}", who, rubric, value, "") for who, values in by_labeler.items() for n, value in enumerate(values)]


def found(judgements: list[Judgement], gold: dict[str, Any] | None = None, level: str | None = None) -> Agreement:
    (under,) = by_rubric(judgements, level)
    return agreement(under, gold or {}, seed=0)


WORDS = said({"ann": "xyxyxyxyzz", "ben": "xyxyxyxxzz", "cho": "xyxyyyxxzx"})
SCORES = said({"ann": [1, 2, 3, 4, 5, 1, 2, 3], "ben": [1, 2, 3, 4, 4, 1, 2, 4], "cho": [2, 3, 3, 5, 5, 1, 3, 4]})


def test_words_are_measured_as_words() -> None:
    own = found(WORDS, {"i0": "x", "i1": "y", "i7": "y"})
    assert (own.level, own.unit, own.judgements, own.items) == ("nominal", "item", 30, 10)
    assert set(own.alphas) == {"nominal"}
    assert own.fleiss is not None
    assert own.cohen is not None
    assert own.values["i0"] == "x"
    assert own.gold["majority"].value == pytest.approx(2 / 3)
    assert set(own.gold) == {"majority", "Dawid-Skene"}
    assert own.tied == ()
    assert own.strengths == ()
    assert found(WORDS).gold == {}
    assert found([*WORDS, *said({"dee": "yx"})]).fleiss is None  # not as many judgements on every item
    assert [each.item for each in found([*WORDS, *said({"dee": "xyxyxyyy"})]).disputes] == ["i7"]


def test_of_labelers_whom_nobody_names_all_is_heard_and_nothing_said() -> None:
    for values in ("xyxyxyxyzzxy", [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 5]):
        plain = said({who: list(values) for who in ("ann", "ben", "cho")})
        plain[0] = replace(plain[0], value=values[1])
        alone = [replace(each, labeler=f"unnamed {n}") for n, each in enumerate(plain)]
        (under,) = by_rubric(alone)
        own = agreement(under, {}, unnamed={each.labeler for each in alone})
        assert (own.labelers, own.unnamed, own.alphas) == ((), 36, found(plain).alphas)
        assert own.values == pytest.approx(found(plain).values, abs=0.05)
        (under,) = by_rubric([*alone, *said({"dee": list(values)})])
        own = agreement(under, {}, unnamed={each.labeler for each in alone})
        assert ([each.name for each in own.labelers], own.unnamed) == (["dee"], 36)


def test_scores_are_measured_at_every_level_and_their_means_are_fair() -> None:
    own = found(SCORES)
    assert own.level == "interval"
    assert set(own.alphas) == {"nominal", "ordinal", "interval"}
    assert own.alphas["interval"].value > own.alphas["nominal"].value
    assert own.values["i3"] == pytest.approx(13 / 3, abs=0.05)
    assert (own.fleiss, own.cohen, own.gold) == (None, None, {})
    severity = {each.name: each.severity.value for each in own.labelers if each.severity}
    assert severity["cho"] > 0 > severity["ben"]
    assert found(SCORES, level="nominal").level == "nominal"
    assert found(SCORES, level="ordinal").level == "ordinal"
    assert found(said({"ann": [0, 1, 1, 0], "ben": [0, 1, 0, 0]})).level == "nominal"  # two values have no middle


def test_rankings_are_measured_on_their_pairs() -> None:
    draw = np.random.default_rng(0)
    worth = {"big": 2.0, "mid": 0.7, "small": -1.0}
    rankings = {
        who: [sorted(worth, key=lambda name: -(worth[name] + draw.gumbel())) for _ in range(60)] for who in ("ann", "ben", "cho")
    }
    own = found(said(rankings), {"i0": ["big", "mid", "small"]})
    assert (own.unit, own.level, own.judgements, own.items) == ("pair", "nominal", 180, 60)
    assert own.alphas["nominal"].count == 60  # the pairs of an item are drawn together
    assert [each.name for each in own.strengths] == ["big", "mid", "small"]
    # a ranking by worth and Gumbel noise is Luce's, whose pairs are Bradley's and Terry's
    gaps = [own.strengths[0].value - own.strengths[1].value, own.strengths[1].value - own.strengths[2].value]
    assert gaps == pytest.approx([1.3, 1.7], abs=0.5)
    assert all(each.low < each.value < each.high for each in own.strengths)
    assert own.gold["majority"].count == 3
    pair = next(iter(own.values))
    settled = found(said(rankings), {pair: own.values[pair]})
    assert (settled.gold["Dawid-Skene"].value, settled.gold["Dawid-Skene"].count) == (1.0, 1)


def test_strengths_are_of_names_that_stand_for_the_same_throughout() -> None:
    once = [Judgement(f"i{n}", who, "", [f"a{n}", f"b{n}"][:: 1 if n % 3 else -1], "") for n in range(9) for who in "xy"]
    assert found(once).strengths == ()


def test_every_rubric_is_measured_for_itself() -> None:
    both = by_rubric([*said({"ann": "xyxy", "ben": "xyyy"}, "tone"), *said({"ann": [1, 2, 3], "ben": [1, 2, 4]}, "stars")])
    assert [(each.rubric, each.level) for each in both] == [("tone", "nominal"), ("stars", "interval")]


@pytest.mark.parametrize(
    ("judgements", "level", "word"),
    [
        (said({"ann": "xyxy"}), None, "all 4 judgements are by one labeler, ann"),
        (said({"ann": "xx", "ben": "xx"}), None, "all 4 judgements are 'x'"),
        (said({"ann": ["tie", "tie"], "ben": ["tie", "tie"]}), None, "all 4 pairs judged are tied: nothing was preferred"),
        (said({"ann": [[["a", "b"]]], "ben": [[["a", "b"]]]}), None, "all 2 pairs judged are tied"),
        (said({"ann": [{"failed": ["a", "b"]}], "ben": [{"failed": ["a", "b"]}]}), None, "every answer judged failed"),
        (
            said({"ann": [["a", "b"], "a"], "ben": [["a", "b"], "b"]}),
            None,
            "some judgements are rankings, and ann says 'a' of item i1",
        ),
        (said({"ann": [1, "good"], "ben": [2, "bad"]}), None, "some judgements are numbers and others words"),
        (WORDS, "interval", "the values are words, such as 'x', which have no interval order"),
        (WORDS, "ordinl", "did you mean 'ordinal'?"),
        ([Judgement(f"i{who}", who, "", "xy"[who == "ben"], "") for who in ("ann", "ben")], None, "no item was judged by two"),
        (said({who: [f"{who} writes {n}" for n in range(2000)] for who in "xyzuvw"}), None, "12,000 different things"),
        (said({"ann": "xyxy"}, "tone"), None, "judgements under tone are by one labeler"),
    ],
)
def test_what_nothing_can_be_measured_on_is_refused(judgements: list[Judgement], level: str | None, word: str) -> None:
    with pytest.raises(BadInput) as refused:
        found(judgements, level=level)
    assert word in str(refused.value)
    assert refused.value.hint


NAMES = [f"m{n}" for n in range(10)]


def arena(choose: Callable[[np.random.Generator, str, str, str], str], *, people: str, items: int = 120) -> list[Judgement]:
    """Two of ten models an item, of which each of `people` chooses by a rule of who they are and the two."""
    draw = np.random.default_rng(0)
    said = []
    for n in range(items):
        one, other = (NAMES[m] for m in draw.choice(len(NAMES), 2, replace=False))
        item = Item(f"i{n}", (Turn("user", "Which?"),), {one: "yes", other: "no"})
        said += as_rankings({item.id: item}, [Judgement(item.id, who, "", choose(draw, who, one, other), "") for who in people])
    return said


def test_choices_of_items_are_measured_beside_what_chance_would_choose() -> None:
    noise = found(arena(lambda draw, who, one, other: (one, other)[draw.integers(2)], people="xyz"))
    assert (noise.unit, noise.judgements, noise.items) == ("pair", 360, 120)
    assert noise.alphas["nominal"].low < 0 < noise.alphas["nominal"].high
    assert abs(noise.alphas["nominal"].value) < 0.1

    def mostly_lower(draw: np.random.Generator, who: str, one: str, other: str) -> str:
        right = draw.random() < (0.5 if who == "g" else 0.9)
        return min(one, other) if right else max(one, other)

    own = found(arena(mostly_lower, people="xyzg"))
    assert [each.name for each in own.labelers if each.out] == ["g"]
    assert np.corrcoef(range(10), [int(each.name[1]) for each in own.strengths])[0, 1] > 0.8


def test_more_who_say_the_same_of_an_item_make_strengths_no_surer() -> None:
    draw = np.random.default_rng(0)
    worth = {"big": 1.0, "mid": 0.5, "small": 0.0}
    rankings = [sorted(worth, key=lambda name: -(worth[name] + draw.gumbel())) for _ in range(80)]
    few, many = (found(said(dict.fromkeys(people, rankings))).strengths for people in ("ab", "abcdefgh"))
    for one, other in zip(few, many, strict=True):
        assert (one.name, one.value) == (other.name, pytest.approx(other.value, abs=0.02))
        assert other.high - other.low == pytest.approx(one.high - one.low, rel=0.1)
