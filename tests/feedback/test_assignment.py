"""Who judges what: so many labelers an item, loads alike, the known ones first, repeats out of sight."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.feedback.assignment import GAP, Ask, Joined, Work, anew, assign, join, seen

ITEMS = [f"i{n}" for n in range(40)]
PEOPLE = ["ann", "ben", "cho", "dee", "eva"]
GOLD = [f"g{n}" for n in range(6)]
CALIBRATION = ["c1", "c2", "c3"]


def assigned(**changed: Any) -> dict[str, list[tuple[str, str]]]:
    given = {"each": 3, "seed": 0, "calibration": CALIBRATION, "gold": GOLD, "gold_share": 0.125, "repeat_share": 0.25} | changed
    found = assign(given.pop("items", ITEMS), given.pop("labelers", PEOPLE), **given)
    return {name: [(ask.item, ask.why) for ask in asks] for name, asks in found.items()}


def test_every_item_has_so_many_labelers_and_loads_differ_by_one_at_most() -> None:
    for each in (1, 3, 5):
        found = assigned(each=each, labelers=PEOPLE)
        judged = Counter(item for asks in found.values() for item, why in asks if why == "judge")
        assert set(judged) == set(ITEMS)
        assert set(judged.values()) == {each}
        loads = [sum(why == "judge" for _, why in asks) for asks in found.values()]
        assert max(loads) - min(loads) <= 1
        for asks in found.values():
            own = [item for item, why in asks if why == "judge"]
            assert len(set(own)) == len(own)


def test_calibration_comes_first_and_all_of_it_in_an_order_of_ones_own() -> None:
    found = assigned(calibration=[f"c{n}" for n in range(8)])
    orders = {tuple(item for item, _ in asks[:8]) for asks in found.values()}
    assert {frozenset(order) for order in orders} == {frozenset(f"c{n}" for n in range(8))}
    assert len(orders) > 1
    assert all(why != "calibration" for asks in found.values() for _, why in asks[8:])


def test_a_round_of_the_calibration_asks_so_many_and_another_what_was_not_asked() -> None:
    found = assigned(warm_up=2)
    assert {sum(why == "calibration" for _, why in asks) for asks in found.values()} == {2}
    work = {name: [ask for ask in asks if ask[1] != "calibration"] for name, asks in found.items()}
    assert work == {name: [ask for ask in asks if ask[1] != "calibration"] for name, asks in assigned().items()}
    known = [f"c{n}" for n in range(5)]
    second = anew(known, ["c3", "c1"], 2, seed="0/ann/2")
    assert set(second) < {"c0", "c2", "c4"}
    third = anew(known, ["c3", "c1", *second], 2, seed="0/ann/3")
    assert [{"c0", "c2", "c4"} - set(second), third[1]] == [{third[0]}, "c3"]
    assert anew(known[:2], ["c1", "c0"], 2, seed="0/ann/2") == ["c1", "c0"]


def test_gold_and_hidden_repeats_are_so_many_as_their_shares_of_a_load() -> None:
    found = assigned()  # a load of 24
    for asks in found.values():
        whys = Counter(why for _, why in asks)
        assert (whys["gold"], whys["repeat"]) == (3, 6)
        assert {item for item, why in asks if why == "gold"} <= set(GOLD)
        place = {item: at for at, (item, why) in enumerate(asks) if why == "judge"}
        assert all(at - place[item] > GAP for at, (item, why) in enumerate(asks) if why == "repeat")
    none = assigned(gold_share=0.0, repeat_share=0.0)
    assert {why for asks in none.values() for _, why in asks} == {"calibration", "judge"}
    whole = assigned(gold_share=1.0)
    assert all(sum(why == "gold" for _, why in asks) == len(GOLD) for asks in whole.values())
    # at the end of a list there is no room to hide a repeat
    all_again = assigned(repeat_share=1.0)["ann"]
    assert 0 < sum(why == "repeat" for _, why in all_again) < sum(why == "judge" for _, why in all_again)


def test_the_seed_alone_says_who_judges_what_and_when() -> None:
    assert assigned() == assigned()
    assert assigned() != assigned(seed=1)


def test_answers_are_seen_under_letters_in_an_order_of_the_labelers_own() -> None:
    names = ["base", "dpo", "sft"]
    shown = seen(names, item="i1", labeler="ann", seed=0)
    assert list(shown) == ["A", "B", "C"]
    assert sorted(shown.values()) == names
    assert shown == seen(names[::-1], item="i1", labeler="ann", seed=0)
    first = Counter(seen(names, item=item, labeler="ann", seed=0)["A"] for item in ITEMS * 1)
    assert set(first) == set(names)
    assert len({tuple(seen(names, item="i1", labeler=name, seed=0).values()) for name in PEOPLE}) > 1
    assert seen(names, item="i1", labeler="ann", seed=0) != seen(names, item="i1", labeler="ann", seed=3)
    many = list(seen([f"m{n:02d}" for n in range(30)], item="i", labeler="ann", seed=0))
    assert (many[25], many[26], many[29]) == ("Z", "AA", "AD")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"items": []}, "no items"),
        ({"labelers": []}, "no labelers"),
        ({"each": 6}, "judged by 6 labelers, and there are 5"),
        ({"each": 0}, "judged by 0 labelers"),
        ({"items": ["a", "a"]}, "'a' stands twice among the items"),
        ({"labelers": ["ann", "ann"]}, "'ann' stands twice among the labelers"),
        ({"gold": ["i1"]}, "'i1' has a known answer"),
        ({"calibration": ["i2"]}, "'i2' has a known answer"),
        ({"calibration": ["g1"]}, "'g1' is both calibration and gold"),
        ({"gold_share": 1.5}, "gold_share is 1.5"),
        ({"repeat_share": -0.1}, "repeat_share is -0.1"),
    ],
)
def test_what_cannot_be_assigned_is_refused(changed: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        assigned(**changed)


def working(done: dict[str, int], **changed: Any) -> dict[str, Work]:
    """Each labeler's work, so many asks of it done, the next on the screen."""
    given = {"each": 2, "seed": 0, "gold": GOLD, "gold_share": 0.125, "repeat_share": 0.25} | changed
    found = {}
    for name, asks in assign(ITEMS, PEOPLE[:3], **given).items():
        left = [ask for ask in asks[done.get(name, 0) :] if ask.why == "judge"]
        begun = {ask.item for ask in asks[: done.get(name, 0) + 1]}
        found[name] = Work(asks, len(left), frozenset(ask.item for ask in left) - begun)
    return found


def kept(works: dict[str, Work], found: Joined) -> dict[str, list[Ask]]:
    return {name: [ask for ask in own.asks if ask.item not in found.taken.get(name, ())] for name, own in works.items()}


@pytest.mark.parametrize("done", [{}, {"ann": 20, "ben": 3}, {"ann": 30, "ben": 30, "cho": 0}])
def test_who_comes_later_takes_over_a_fair_share_of_what_remains(done: dict[str, int]) -> None:
    works = working(done)
    found = join(works, "dee", seed=0, calibration=CALIBRATION, gold=GOLD, gold_share=0.125, repeat_share=0.25)
    own = [ask.item for ask in found.asks if ask.why == "judge"]
    after = kept(works, found)
    # each item has as many labelers as before, nobody has one twice, and nothing that was begun has gone
    judged = [ask.item for asks in (*after.values(), found.asks) for ask in asks if ask.why == "judge"]
    assert Counter(judged) == dict.fromkeys(ITEMS, 2)
    assert len(set(own)) == len(own)
    assert all(items <= works[name].free for name, items in found.taken.items())
    left = {name: works[name].left - len(found.taken.get(name, ())) for name in works}
    assert max(left.values()) <= len(own) + 1
    for name in found.taken:
        assert left[name] >= len(own) - 1
    assert {ask.item for ask in found.asks[:3]} == set(CALIBRATION)
    assert {ask.why for ask in found.asks[:3]} == {"calibration"}
    whys = Counter(ask.why for ask in found.asks)
    assert whys["gold"] == min(len(GOLD), round(0.125 * len(own)))
    assert 0 < whys["repeat"] <= round(0.25 * len(own))
    for asks in (*after.values(), found.asks):  # repeats stay out of sight, of those who gave too
        first = {ask.item: at for at, ask in enumerate(asks) if ask.why == "judge"}
        assert all(at - first[ask.item] > GAP for at, ask in enumerate(asks) if ask.why == "repeat")


def test_the_seed_and_the_name_say_what_is_handed_over() -> None:
    works = working({"ann": 5})
    assert join(works, "dee", seed=0) == join(dict(reversed(works.items())), "dee", seed=0) == join(works, "dee", seed=0)
    assert join(works, "dee", seed=0) != join(works, "dee", seed=1)
    assert join(works, "dee", seed=0).taken != join(works, "eva", seed=0).taken


def test_where_nothing_can_be_handed_over_it_is_said() -> None:
    busy = {name: Work(own.asks, 1, frozenset()) for name, own in working({}).items()}
    with pytest.raises(BadInput, match="nothing is left to hand over to dee"):
        join(busy, "dee", seed=0)
    for name, said in (("ann", "a labeler ann already"), (" ", "cannot be called"), ("a\nb", "cannot be called")):
        with pytest.raises(BadInput, match=said):
            join(working({}), name, seed=0)


@pytest.mark.parametrize("name", ["", "\x7f", "\u200b", "a\u202eb", "a\u2028b", "\u3000\u00a0", "ann\u200b"])
def test_a_name_that_does_not_show_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="a labeler cannot be called"):
        join(working({}), name, seed=0)
    with pytest.raises(BadInput, match="a labeler cannot be called"):
        assigned(labelers=[*PEOPLE, name])
    assert "André Østby-李" in assigned(labelers=[*PEOPLE, "André Østby-李"])
