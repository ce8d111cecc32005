"""All that judgements say of themselves: how far labelers agree, who stands out, and what the items' values are."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuneladder.feedback.accord import Others, others, share
from tuneladder.feedback.aggregate import majority
from tuneladder.feedback.alpha import Level, alpha
from tuneladder.feedback.bradley_terry import bradley_terry, in_groups
from tuneladder.feedback.calibration import share_right
from tuneladder.feedback.disputes import Dispute, disputes
from tuneladder.feedback.kappa import fleiss, pairwise
from tuneladder.feedback.labelers import First, Labeler, labelers, standing_out
from tuneladder.feedback.rankings import TIED, Pair, as_pairs
from tuneladder.feedback.slips import Slip, slips
from tuneladder.feedback.table import Table
from tuneladder.feedback.under import Under
from tuneladder.types import Judgement, Score

BETTER = {"yes": 1.0, TIED: 0.5, "no": 0.0}  # what is said of a pair, by how much its first name is better


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
    `values` are the items' by the best aggregation there is, `tied` the items that a majority leaves so; `gold` is the share of
    items that each aggregation has right. Kappas are None where they are not defined. `unnamed` counts the labelers of whom nothing
    is known but one judgement, who are not among `labelers`."""

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
    disputes: tuple[Dispute, ...]
    values: Mapping[str, Any]
    tied: tuple[str, ...]
    gold: Mapping[str, Score]
    strengths: tuple[Strength, ...] = ()
    unnamed: int = 0


def agreement(
    under: Under,
    gold: Mapping[str, Any],
    *,
    firsts: Mapping[str, First] | None = None,
    unnamed: Collection[str] = (),
    seed: int = 0,
) -> Agreement:
    """`gold` are the right values, by item, `firsts` what labelers took of what they were shown first, by name; labelers who are
    `unnamed` are heard, and nothing is said of them; alpha's intervals are drawn by `seed`. Raises BadInput where none was judged
    twice."""
    table, level = under.table, under.level
    if under.pairs:
        gold = _paired(gold, under.pairs)
    scored = level != "nominal"
    heard = others(table, scored=scored)
    found = labelers(table, heard, gold, firsts or {}, unnamed)
    out = standing_out(found)
    equal = table.counts.sum(1)
    return Agreement(
        rubric=under.rubric,
        unit="pair" if under.pairs else "item",
        level=level,
        judgements=len(under.given),
        items=len({each.item for each in under.given}),
        alphas={each: alpha(table.counts, each, table.number, group=table.source, seed=seed) for each in under.levels},
        fleiss=_finite(fleiss(table.counts)) if not scored and equal.min() == equal.max() >= 2 else None,
        cohen=None if scored else pairwise(table),
        labelers=found,
        slips=slips(table, heard, out),
        disputes=disputes(table, heard, under.judgements, out),
        values=_values(table, heard),
        tied=() if scored else majority(table).tied,
        gold={} if scored else _by_gold(table, heard, gold),
        strengths=_strengths(under) if under.pairs else (),
        unnamed=len(table.labelers) - len(found),
    )


def _paired(gold: Mapping[str, Any], pairs: Mapping[str, Pair]) -> dict[str, Any]:
    """Right rankings as the right values of their pairs; a pair may have one of its own."""
    right, _ = as_pairs([Judgement(item, "gold", "", value, "") for item, value in gold.items() if item not in pairs])
    return {each.item: each.value for each in right} | {item: value for item, value in gold.items() if item in pairs}


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
    source = table.source[known]
    assert heard.fit is not None
    ways = {"majority": majority(table).value, "Dawid-Skene": [table.values[k] for k in heard.fit.value]}
    found = {}
    for way, said in ways.items():
        hits = np.array([share_right(said[n], gold[table.items[n]]) for n in known])
        found[way] = replace(share(hits, source), count=len(known))
    return found


def _strengths(under: Under) -> tuple[Strength, ...]:
    """Of names that all stand in more than one item, the strongest first: what a name stands for is compared throughout."""
    sources: dict[str, set[str]] = {}
    for pair in under.pairs.values():
        for name in (pair.name, pair.other):
            sources.setdefault(name, set()).add(pair.item)
    names = sorted(name for name, own in sources.items() if len(own) > 1)
    if len(names) < 2 or len(names) < len(sources):
        return ()
    place, table = {name: m for m, name in enumerate(names)}, under.table
    compared = [under.pairs[item] for item in table.items]
    one = np.array([place[pair.name] for pair in compared])[table.item]
    other = np.array([place[pair.other] for pair in compared])[table.item]
    better = np.array([BETTER[value] for value in table.values])[table.value]
    wins, ties = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    np.add.at(wins, (one, other), better == 1)
    np.add.at(wins, (other, one), better == 0)
    np.add.at(ties, (one, other), better == 0.5)
    np.add.at(ties, (other, one), better == 0.5)
    fit = in_groups(bradley_terry(wins, ties, names=names), better, one, other, table.source[table.item])
    found = [Strength(name, float(fit.log[m]), float(fit.low[m]), float(fit.high[m])) for m, name in enumerate(names)]
    return tuple(sorted(found, key=lambda each: -each.value))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
