"""All that judgements say of themselves: how far labelers agree, who stands out, and what the items' values are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.intervals import wilson
from tuneladder.feedback.accord import Others, others
from tuneladder.feedback.aggregate import majority
from tuneladder.feedback.alpha import LEVELS, Level, alpha
from tuneladder.feedback.bradley_terry import bradley_terry
from tuneladder.feedback.calibration import share_right
from tuneladder.feedback.kappa import fleiss, pairwise
from tuneladder.feedback.labelers import Labeler, labelers, standing_out
from tuneladder.feedback.rankings import TIED, Pair, as_pairs, is_ranking
from tuneladder.feedback.slips import Slip, slips
from tuneladder.feedback.table import Table, Whole, table_of
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement, Score

ALONE = "have some of the items judged by a second labeler"


@dataclass(frozen=True)
class Strength:
    """How often one of the ranked is better than another, as a number: the natural logarithm of Bradley and Terry's strength."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Agreement:
    """What was judged under one rubric. `unit` says what agreement is measured on, `level` how values differ; `alphas` by level;
    `values` are the items' by the best aggregation there is, `doubtful` the items that a majority leaves tied; `gold` is the share
    of items that each aggregation has right. Kappas are None where they are not defined."""

    rubric: str
    unit: str
    level: Level
    judgements: int
    items: int
    alphas: Mapping[str, Score]
    fleiss: float | None
    cohen: float | None
    labelers: tuple[Labeler, ...]
    slips: tuple[Slip, ...]
    values: Mapping[str, Any]
    doubtful: tuple[str, ...]
    gold: Mapping[str, Score]
    strengths: tuple[Strength, ...] = ()


def agreement(
    judgements: Sequence[Judgement], gold: Mapping[str, Any] | None = None, *, level: str | None = None, seed: int = 0
) -> tuple[Agreement, ...]:
    """One for each rubric, in their order by name. `level` says how values differ; left out, words are nominal and so are scores
    of two values, other scores are interval.

    Raises BadInput for judgements that no agreement can be measured on: of one labeler, of no item twice, all the same.
    """
    if level is not None and level not in LEVELS:
        raise unknown("level", level, LEVELS)
    by_rubric = groupby(sorted(judgements, key=lambda each: each.rubric), key=lambda each: each.rubric)
    return tuple(_agreement(rubric, list(own), gold or {}, level, seed) for rubric, own in by_rubric)


def _agreement(rubric: str, judgements: list[Judgement], gold: Mapping[str, Any], level: str | None, seed: int) -> Agreement:
    under = f" under {rubric}" if rubric else ""
    ranked = [each for each in judgements if is_ranking(each.value)]
    if ranked and len(ranked) < len(judgements):
        odd = next(each for each in judgements if not is_ranking(each.value))
        said = f"some judgements{under} are rankings, and {odd.labeler} says {text_of(odd.value)[:40]!r} of item {odd.item}"
        raise BadInput(said, "rank with ties and failures: [['a', 'b']] and {ranked: ['a'], failed: ['b']}")
    whole = judgements
    pairs: dict[str, Pair] = {}
    if ranked:
        judgements, pairs = as_pairs(ranked)
        gold = _paired(gold)
    _refuse(judgements, under)
    table = table_of(judgements)
    measured = _level(table, level, under)
    heard = others(table, scored=measured != "nominal")
    found = labelers(table, heard, gold)
    group = _groups([pairs[item].item for item in table.items]) if ranked else None
    levels: tuple[Level, ...] = LEVELS if table.number is not None and len(table.values) > 2 else ("nominal",)
    equal = table.counts.sum(1)
    values = _values(table, heard)
    return Agreement(
        rubric=rubric,
        unit="pair" if ranked else "item",
        level=measured,
        judgements=len(whole),
        items=len({each.item for each in whole}),
        alphas={each: alpha(table.counts, each, table.number, group=group, seed=seed) for each in levels},
        fleiss=_finite(fleiss(table.counts)) if measured == "nominal" and equal.min() == equal.max() >= 2 else None,
        cohen=pairwise(table) if measured == "nominal" else None,
        labelers=found,
        slips=slips(table, heard, standing_out(found)),
        values=values,
        doubtful=majority(table).tied if measured == "nominal" else (),
        gold=_by_gold(table, heard, gold) if measured == "nominal" else {},
        strengths=_strengths(table, pairs) if ranked else (),
    )


def _refuse(judgements: Sequence[Judgement], under: str) -> None:
    people = {each.labeler for each in judgements}
    if len(people) == 1:
        raise BadInput(f"all {len(judgements):,} judgements{under} are by one labeler, {next(iter(people))}", ALONE)
    said = Counter(text_of(each.value) for each in judgements)
    if set(said) == {TIED}:
        hint = "ask about answers that differ, or define in the rubric what makes one better"
        raise BadInput(f"all {len(judgements):,} pairs judged{under} are tied: nothing was preferred", hint)
    if len(said) == 1:
        hint = "where nothing differs no agreement can be measured: judge items that differ"
        raise BadInput(f"all {len(judgements):,} judgements{under} are '{next(iter(said))}'", hint)


def _level(table: Table, level: str | None, under: str) -> Level:
    if table.number is None:
        if level in ("ordinal", "interval"):
            raise BadInput(f"the values{under} are words, such as '{table.values[0]}', which have no {level} order", "leave it out")
        return "nominal"
    if level is not None:
        return next(each for each in LEVELS if each == level)
    return "nominal" if len(table.values) == 2 else "interval"


def _paired(gold: Mapping[str, Any]) -> dict[str, Any]:
    """Right rankings as the right values of their pairs."""
    right, _ = as_pairs([Judgement(item, "gold", "", value, "") for item, value in gold.items()])
    return {each.item: each.value for each in right}


def _groups(sources: Sequence[str]) -> Whole:
    """(I,): the pairs of one item have one number."""
    number = {each: n for n, each in enumerate(dict.fromkeys(sources))}
    return np.array([number[each] for each in sources], dtype=np.int64)


def _values(table: Table, heard: Others) -> dict[str, Any]:
    """Each item's likeliest value by Dawid and Skene, or its mean score as if all were equally severe."""
    if heard.fit is not None:
        return {item: table.values[k] for item, k in zip(table.items, heard.fit.value, strict=True)}
    assert heard.means is not None
    return dict(zip(table.items, heard.means.adjusted.tolist(), strict=True))


def _by_gold(table: Table, heard: Others, gold: Mapping[str, Any]) -> dict[str, Score]:
    known = [n for n, item in enumerate(table.items) if item in gold]
    if not known:
        return {}
    assert heard.fit is not None
    ways = {"majority": majority(table).value, "Dawid-Skene": [table.values[k] for k in heard.fit.value]}
    found = {}
    for way, said in ways.items():
        hits = sum(share_right(said[n], text_of(gold[table.items[n]])) for n in known)
        found[way] = Score(hits / len(known), *wilson(hits, len(known)), len(known), "Wilson")
    return found


def _strengths(table: Table, pairs: Mapping[str, Pair]) -> tuple[Strength, ...]:
    """Of names that all stand in more than one item, the strongest first: what a name stands for is compared throughout."""
    sources: dict[str, set[str]] = {}
    for pair in pairs.values():
        for name in (pair.name, pair.other):
            sources.setdefault(name, set()).add(pair.item)
    names = sorted(name for name, own in sources.items() if len(own) > 1)
    if len(names) < 2 or len(names) < len(sources):
        return ()
    place = {name: m for m, name in enumerate(names)}
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    for n, k in zip(table.item, table.value, strict=True):
        pair = pairs[table.items[n]]
        one, other = place[pair.name], place[pair.other]
        match table.values[k]:
            case "yes":
                wins[one, other] += 1
            case "no":
                wins[other, one] += 1
            case _:
                ties[one, other] += 1
                ties[other, one] += 1
    fit = bradley_terry(wins, ties, names=names)
    found = [Strength(name, float(fit.log[m]), float(fit.low[m]), float(fit.high[m])) for m, name in enumerate(names)]
    return tuple(sorted(found, key=lambda each: -each.value))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
