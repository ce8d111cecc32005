"""From judgements to what is learned: comparisons of two answers, and answers with their scores."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.items import Item, ranking_among
from tuneladder.feedback.rankings import pairs_said
from tuneladder.feedback.table import firsts, is_number
from tuneladder.store import write_lines
from tuneladder.task.comparisons import prompt_of, rows_of
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row
from tuneladder.types import Comparison, Judgement, Turns

ALL_TIED = "learn from the scores as they are, or ask more people of items that differ"


@dataclass(frozen=True)
class Rated:
    """An answer with the mean of its scores, how many gave one, and the standard deviation between them."""

    turns: Turns
    answer: str
    score: float
    count: int
    spread: float


@dataclass(frozen=True)
class Exported:
    """`tied` counts pairs that as many take one way as the other, `failed` those of which nobody accepted either answer, `alike`
    those of two equal texts: none of them can be learned."""

    comparisons: tuple[Comparison, ...]
    tied: int = 0
    failed: int = 0
    alike: int = 0


def to_pairs(items: Sequence[Item], judgements: Sequence[Judgement], *, at_least: float = 0.0) -> Exported:
    """Of scores `from_scores`, of all else `from_rankings`, which has no margins to be `at_least`. Numbers that all name answers of
    their items are choices."""
    known = {item.id: item for item in items}
    chosen = all(each.item in known and text_of(each.value) in known[each.item].answers for each in judgements)
    if not chosen and all(is_number(each.value) for each in judgements):
        return from_scores(items, judgements, at_least=at_least)
    if at_least:
        raise BadInput(f"pairs are to be {at_least:g} apart, and these judgements are no scores", "leave at_least out")
    return from_rankings(items, judgements)


def from_rankings(items: Sequence[Item], judgements: Sequence[Judgement]) -> Exported:
    """Of each item its n choose 2 pairs by what most labelers say; a name alone chooses it, `tie` and `fail` are of all answers.

    What a labeler says of an item again does not count. A comparison's weight is the agreement on it: the share that prefers the
    chosen less the share that prefers the other; who fails both prefers neither. Raises BadInput for names and items that are not
    known, and where all are tied.
    """
    known = {item.id: item for item in items}
    said: dict[tuple[str, str, str], float] = {}
    asked: Counter[tuple[str, str, str]] = Counter()
    for each in firsts(judgements)[0]:
        ranking = ranking_among(_item(known, each), each.value, each.labeler)
        for one, other, better in pairs_said(ranking):
            pair = each.item, one, other
            said[pair] = said.get(pair, 0.0) + 2 * better - 1
        asked.update((each.item, one, other) for one, other in combinations(sorted(ranking.names), 2))
    net = {pair: votes / asked[pair] for pair, votes in said.items()}
    return _exported(known, net, dict.fromkeys(net, 0.0), failed=len(asked) - len(said))


def from_scores(items: Sequence[Item], judgements: Sequence[Judgement], *, at_least: float = 0.0) -> Exported:
    """Of judgements whose item is `ITEM/ANSWER` and whose value is a number: the answer whose mean is higher is chosen, the margin
    is how much, and pairs no further than `at_least` apart are tied.

    The weight is the agreement of those who scored both, as in `from_rankings`, 1 where nobody did; a pair that they take the other
    way is tied.
    """
    known = {item.id: item for item in items}
    by_answer = _scores(known, judgements)
    net, margins = {}, {}
    for item in items:
        names = sorted(name for name in item.answers if (item.id, name) in by_answer)
        for one, other in combinations(names, 2):
            mine, theirs = by_answer[item.id, one], by_answer[item.id, other]
            gap = float(np.mean(list(mine.values())) - np.mean(list(theirs.values())))
            both = [float(np.sign(mine[who] - theirs[who])) for who in mine if who in theirs]
            agreed = float(np.mean(both)) if both else float(np.sign(gap))
            pair = (item.id, one, other)
            margins[pair] = abs(gap)
            net[pair] = agreed if abs(gap) > at_least and agreed * gap > 0 else 0.0
    return _exported(known, net, margins, failed=0)


def rated(items: Sequence[Item], judgements: Sequence[Judgement]) -> tuple[Rated, ...]:
    """The scores as they are, of judgements as `from_scores` takes them."""
    known = {item.id: item for item in items}
    found = []
    for (id, name), scores in _scores(known, judgements).items():
        own, item = list(scores.values()), known[id]
        found.append(Rated(item.turns, item.answers[name], float(np.mean(own)), len(own), float(np.std(own))))
    return tuple(found)


def write_comparisons(path: Path, comparisons: Iterable[Comparison]) -> int:
    """As JSON lines of prompt, chosen, rejected, weight, margin and source, which a recipe reads. The number of rows."""
    return write_lines(path, rows_of(comparisons))


def write_rated(path: Path, answers: Iterable[Rated]) -> int:
    """As JSON lines of prompt, completion, score, count and spread. The number of rows."""
    return write_lines(path, map(_rated_row, answers))


def _rated_row(each: Rated) -> Row:
    said = {"prompt": prompt_of(each.turns), "completion": each.answer}
    return said | {"score": each.score, "count": each.count, "spread": each.spread}


def _exported(
    known: Mapping[str, Item], net: Mapping[tuple[str, str, str], float], margins: Mapping[tuple[str, str, str], float], failed: int
) -> Exported:
    comparisons = []
    tied = alike = 0
    for pair, agreed in net.items():
        id, one, other = pair
        item = known[id]
        if item.answers[one].strip() == item.answers[other].strip():
            alike += 1
        elif abs(agreed) < 1e-9:
            tied += 1
        else:
            chosen, rejected = (one, other) if agreed > 0 else (other, one)
            name = f"{id}: {chosen} over {rejected}"
            texts = item.answers[chosen], item.answers[rejected]
            comparisons.append(Comparison(name, item.turns, *texts, abs(agreed), margins[pair], source=id))
    if not comparisons:
        if not (tied or alike or failed):
            raise BadInput(
                "no two answers of one item were judged: there is no pair to learn from", "judge two or more of each item"
            )
        why = "all tied" if tied and not alike + failed else f"tied ({tied:,}), equal texts ({alike:,}) or failures ({failed:,})"
        raise BadInput(f"of {tied + alike + failed:,} pairs none can be learned: they are {why}", ALL_TIED)
    return Exported(tuple(comparisons), tied, failed, alike)


def _scores(known: Mapping[str, Item], judgements: Sequence[Judgement]) -> dict[tuple[str, str], dict[str, float]]:
    """What each labeler gave each answer, by item and name; the first where somebody gave several."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for each in firsts(judgements)[0]:
        id, name = _named(known, each)
        if not is_number(each.value):
            raise BadInput(f"{each.labeler} on item {each.item}: '{text_of(each.value)}' is no score", "scores are numbers")
        found.setdefault((id, name), {})[each.labeler] = float(each.value)
    return found


def _named(known: Mapping[str, Item], judgement: Judgement) -> tuple[str, str]:
    """The item and the answer in `ITEM/ANSWER`; either may have strokes in it."""
    ways = [(id, name) for id, name in _parted(judgement.item) if id in known]
    for id, name in ways:
        if name in known[id].answers:
            return id, name
    if ways:
        raise unknown(f"answer to item {ways[0][0]} ({judgement.labeler}):", ways[0][1], known[ways[0][0]].answers)
    raise BadInput(f"{judgement.labeler} scores '{judgement.item}', which is no answer of a known item", "write it as ITEM/ANSWER")


def _item(known: Mapping[str, Item], judgement: Judgement) -> Item:
    if found := known.get(judgement.item):
        return found
    if any(id in known and name in known[id].answers for id, name in _parted(judgement.item)):
        said = (
            f"{judgement.labeler} says '{text_of(judgement.value)[:40]}' of {judgement.item}: a label prefers no answer to another"
        )
        raise BadInput(said, "take a criterion that scores, chooses or ranks")
    raise unknown(f"item (judged by {judgement.labeler})", judgement.item, known, "hand in the items that were judged")


def _parted(whole: str) -> list[tuple[str, str]]:
    """`ITEM/ANSWER` parted at each of its strokes."""
    return [(whole[:at], whole[at + 1 :]) for at, mark in enumerate(whole) if mark == "/"]
