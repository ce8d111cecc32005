"""Rankings of several answers, with ties and failures, and the pairs that they say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.store import digest
from tuneladder.task.formats import list_of, text_of
from tuneladder.types import Judgement

HINT = "a ranking is a list, best first, ties as lists within: ['b', ['a', 'c']]; failures: {ranked: [...], failed: ['d']}"
TIED, FAILED = "tie", "fail"  # what may be said of any two: neither is better, or neither will do


@dataclass(frozen=True)
class Ranking:
    """`places`: the best first, those of one place tied; `failed` are below all, and not told apart among themselves."""

    places: tuple[tuple[str, ...], ...]
    failed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return (*(name for place in self.places for name in place), *self.failed)


@dataclass(frozen=True)
class Pair:
    """Two of an item's answers, of which is asked whether the first is better."""

    item: str
    name: str
    other: str


def is_ranking(value: Any) -> bool:
    return isinstance(value, list | tuple | dict | Ranking)


def ranking_of(value: Any, where: str = "the ranking") -> Ranking:
    """A list of names, best first, ties as lists within it, or {ranked, failed} where some would not do at all."""
    if isinstance(value, Ranking):
        return value
    ranked, failed = (value.get("ranked", ()), value.get("failed", ())) if isinstance(value, dict) else (value, ())
    strays = set(value) - {"ranked", "failed"} if isinstance(value, dict) else set()
    listed, fails = list_of(ranked), list_of(failed)
    if strays or listed is None or fails is None:
        raise BadInput(f"{where}: {text_of(value)[:80]!r} is no ranking", HINT)
    places = tuple(tuple(map(text_of, place)) if isinstance(place, list | tuple) else (text_of(place),) for place in listed)
    found = Ranking(tuple(place for place in places if place), tuple(map(text_of, fails)))
    if twice := next((name for at, name in enumerate(found.names) if name in found.names[:at]), None):
        raise BadInput(f"{where}: '{twice}' is ranked twice", HINT)
    if odd := next((name for name in found.names if name in (TIED, FAILED)), None):
        raise BadInput(f"{where}: an answer is called '{odd}'", f"{HINT}; give the answer another name")
    if len(found.names) < 2:
        raise BadInput(f"{where}: one answer cannot be ranked", "rank two or more")
    return found


def choice_of(chosen: Any, names: Sequence[str]) -> Ranking:
    """What a choice among `names` says of them: the chosen is better than the others, which it does not tell apart; TIED and FAILED
    are of all."""
    if chosen == TIED:
        return Ranking((tuple(names),))
    if chosen == FAILED:
        return Ranking((), tuple(names))
    best = text_of(chosen)
    return Ranking(((best,), tuple(name for name in names if name != best)))


def pairs_said(ranking: Ranking) -> Iterator[tuple[str, str, float]]:
    """Each two of its names, n choose 2, the first by name, with 1 where that is better, 0 where the other is and 0.5 where they
    are tied. What failed is worse than all that did not; of two failures nothing is said."""
    height = {name: -at for at, place in enumerate(ranking.places) for name in place}
    height |= dict.fromkeys(ranking.failed, -len(ranking.places))
    for one, other in combinations(sorted(ranking.names), 2):
        if one in ranking.failed and other in ranking.failed:
            continue
        yield one, other, 0.5 if height[one] == height[other] else float(height[one] > height[other])


def as_pairs(judgements: Sequence[Judgement]) -> tuple[list[Judgement], dict[str, Pair]]:
    """Each ranking as judgements of its pairs, `yes`, `no` or `tie`, on which agreement is measured, and what pair each of their
    items is. Which name of a pair is asked for is drawn by its digest, so that neither is likelier before anybody has spoken."""
    said: list[Judgement] = []
    pairs: dict[str, Pair] = {}
    for each in judgements:
        for one, other, better in pairs_said(ranking_of(each.value, f"{each.labeler} on item {each.item}")):
            turned = digest(each.item, one) > digest(each.item, other)
            pair = Pair(each.item, other, one) if turned else Pair(each.item, one, other)
            item = f"{each.item}: {pair.name} over {pair.other}"
            pairs[item] = pair
            value = TIED if better == 0.5 else "yes" if bool(better) != turned else "no"
            said.append(replace(each, item=item, value=value))
    return said, pairs
