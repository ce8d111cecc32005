"""Is a variant as good for one group of rows as for another (arXiv:2211.09110, section 4.7)? Its kept answers, group by group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.find import Metric
from tuneladder.evaluate.intervals import Array, independent_bootstrap
from tuneladder.evaluate.measure import rate, told_again
from tuneladder.types import Marked, Score

DRAWS = 1000


@dataclass(frozen=True)
class Group:
    """`enough` says whether it has the rows that a comparison asks for."""

    name: str
    score: Score
    enough: bool


@dataclass(frozen=True)
class Gap:
    """How far the best group lies from the worst. `chance` is the gap that the groups would stay below nineteen times in twenty if
    their names were dealt out among the same rows: of several groups some are always best and worst."""

    best: str
    worst: str
    score: Score
    chance: float

    @property
    def wide(self) -> bool:
        """Whether chance alone does not explain it."""
        return self.score.value > self.chance


@dataclass(frozen=True)
class Fairness:
    """`gap` is None where fewer than two groups have enough rows; `left_out` counts rows that are of no group."""

    groups: tuple[Group, ...]
    gap: Gap | None
    left_out: int


def fairness(
    metric: Metric, answers: Sequence[Marked], groups: Mapping[str, str], labels: Sequence[str], *, least: int, seed: int
) -> Fairness | None:
    """The groups by name; `groups` has each row's by its id. None where no answer is of any."""
    parts: dict[str, list[Marked]] = {}
    for marked in answers:
        if marked.id in groups:
            parts.setdefault(groups[marked.id], []).append(marked)
    if not parts:
        return None
    own = {name: _read(metric, part) for name, part in sorted(parts.items())}
    scores = {name: rate(metric, *part, labels, seed=seed) for name, part in own.items()}
    able = [name for name, score in scores.items() if score.count >= least]
    found = tuple(Group(name, score, name in able) for name, score in scores.items())
    gap = _gap(metric, own, {name: scores[name] for name in able}, labels, seed) if len(able) > 1 else None
    return Fairness(found, gap, len(answers) - sum(map(len, parts.values())))


Read = tuple[list[str], list[tuple[str, ...]]]  # what is marked of answers, and the references of each


def _read(metric: Metric, part: Sequence[Marked]) -> Read:
    return told_again(metric, part), [(marked.reference, *marked.others) for marked in part]


def _gap(metric: Metric, parts: Mapping[str, Read], scores: Mapping[str, Score], labels: Sequence[str], seed: int) -> Gap:
    low, *_, high = sorted(scores, key=lambda name: scores[name].value)
    value = scores[high].value - scores[low].value
    statistics = {name: metric.statistics(*parts[name], labels) for name in scores}
    ends = independent_bootstrap(statistics[low], statistics[high], metric.combine, seed=seed)
    if any(_alike(metric, statistics[name], scores[name]) for name in (low, high)):
        # A group whose rows are all alike leaves the bootstrap nothing to vary: the two intervals are put together instead
        # (Zou and Donner 2008), as Newcombe does for two shares.
        up = math.hypot(scores[high].high - scores[high].value, scores[low].value - scores[low].low)
        down = math.hypot(scores[high].value - scores[high].low, scores[low].high - scores[low].value)
        ends = (value - down, value + up)
    count = scores[low].count + scores[high].count
    best, worst = (high, low) if metric.better == "higher" else (low, high)
    chance = _by_chance(np.concatenate([*statistics.values()]), [len(own) for own in statistics.values()], metric, seed)
    return Gap(best, worst, Score(value, *ends, count, "independent bootstrap"), chance)


def _alike(metric: Metric, statistics: Array, score: Score) -> bool:
    """Whether the bootstrap has nothing to vary: `rate` then gives Wilson's interval in its place."""
    return bool((statistics == statistics[0]).all()) or (score.interval == "wilson" and metric.interval == "bootstrap")


def _by_chance(statistics: Array, sizes: Sequence[int], metric: Metric, seed: int) -> float:
    """The 95th percentile of the widest gap between groups of these sizes, drawn from the same rows. statistics (N, S)."""
    draw = np.random.default_rng(seed)
    starts = np.cumsum([0, *sizes[:-1]])
    sums = np.stack([np.add.reduceat(statistics[draw.permutation(len(statistics))], starts) for _ in range(DRAWS)])
    values = metric.combine(sums.reshape(-1, sums.shape[-1])).reshape(DRAWS, len(sizes))
    return float(np.quantile(values.max(1) - values.min(1), 0.95))
