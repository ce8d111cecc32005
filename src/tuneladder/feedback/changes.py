"""What a new version of a guideline did to agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tuneladder.evaluate.intervals import Array, paired_bootstrap
from tuneladder.feedback.alpha import Level, added_up, sums_of
from tuneladder.feedback.rubric import unstamped
from tuneladder.feedback.under import Under
from tuneladder.types import Score


@dataclass(frozen=True)
class Change:
    """Alpha under `after` less alpha under `before`, with its interval and two-sided p over items drawn anew; the `shared` ones,
    judged under both, are drawn together."""

    criterion: str
    before: str
    after: str
    level: Level
    difference: Score
    p: float
    shared: int


def changes(under: Sequence[Under], *, seed: int = 0) -> tuple[Change, ...]:
    """One for each two versions of a criterion that follow each other: by when they were first judged under where all judgements
    say, and else in their order."""
    by_criterion: dict[str, list[Under]] = {}
    for each in under:
        criterion, version = unstamped(each.rubric)
        if version:
            by_criterion.setdefault(criterion, []).append(each)
    found = []
    for criterion, versions in by_criterion.items():
        if not any(np.isnan(each.table.at).any() for each in versions):
            versions.sort(key=lambda each: float(each.table.at.min()))
        found += [_change(criterion, one, other, seed) for one, other in pairwise(versions)]
    return tuple(found)


def _change(criterion: str, before: Under, after: Under, seed: int) -> Change:
    level = before.level if before.level == after.level else _common(before, after)
    sources, statistics = [], []
    for each in (before, after):
        judged, sums, combine = sums_of(each.table.counts, level, each.table.number)
        sources.append([_source(each, int(at)) for at in judged])
        statistics.append(sums)
    place = {item: at for at, item in enumerate(dict.fromkeys((*sources[0], *sources[1])))}
    width = max(sums.shape[1] for sums in statistics)  # a value that one version alone knows was said nowhere under the other
    one, other = (_placed(sums, own, place, width) for sums, own in zip(statistics, sources, strict=True))
    value, low, high, p = paired_bootstrap(one, other, combine, seed=seed)
    score = Score(value, min(low, value), max(high, value), len(place), "paired bootstrap over items")
    return Change(criterion, before.rubric, after.rubric, level, score, p, len({*sources[0]} & {*sources[1]}))


def _common(before: Under, after: Under) -> Level:
    """Scores of two values are as good an interval as those of more."""
    return "nominal" if before.table.number is None or after.table.number is None else "interval"


def _source(under: Under, at: int) -> str:
    item = under.table.items[at]
    return under.pairs[item].item if under.pairs else item


def _placed(sums: Array, sources: Sequence[str], place: Mapping[str, int], width: int) -> Array:
    at = np.array([place[item] for item in sources], dtype=np.int64)
    return added_up(np.pad(sums, ((0, 0), (0, width - sums.shape[1]))), at, len(place))
