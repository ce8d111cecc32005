"""Two variants on the same items: how far apart they are, which each got right alone, and whether that could be chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import Metric
from tuneladder.evaluate.intervals import by_group, items_needed, mcnemar, paired_bootstrap, swapped
from tuneladder.evaluate.measure import told_again
from tuneladder.types import Marked

RESAMPLES = 10_000  # the smallest p that so many can give is 0.0002: of 100 comparisons corrected together one may still be told


@dataclass(frozen=True)
class Contest:
    """a against b, each pair of answers as (a's, b's). `p` is McNemar's exact two-sided p, or where items stand in `groups`
    together that of swapping the two in whole groups; `needed` how many items would tell the two apart, if they differ as they do
    on these (80 % power at 0.05), None where neither won more. `groups` is None where each item stands for itself."""

    won: tuple[tuple[Marked, Marked], ...]
    lost: tuple[tuple[Marked, Marked], ...]
    both: int
    neither: int
    p: float
    needed: int | None
    groups: int | None = None

    @property
    def test(self) -> str:
        return "McNemar's exact p" if self.groups is None else f"exact p of swapping whole prompts ({self.groups:,} of them)"


@dataclass(frozen=True)
class Difference:
    """How much higher a metric is in b than in a on the same rows, with its 95 % interval and two-sided p (paired bootstrap, of
    whole groups where rows stand in some)."""

    metric: str
    value: float
    low: float
    high: float
    p: float
    count: int


def compare(a: Sequence[Marked], b: Sequence[Marked]) -> Contest:
    """`won`: right in a, wrong in b; `lost`: the other way. Items are matched by id; those not simply right or wrong are left out.

    Raises BadInput when no item can be compared.
    """
    pairs = [pair for pair in _pairs(a, b) if pair[0].correct is not None and pair[1].correct is not None]
    if not pairs:
        raise BadInput("these answers are not simply right or wrong: none is won or lost", "compare their scores instead")
    won = tuple(pair for pair in pairs if pair[0].correct and not pair[1].correct)
    lost = tuple(pair for pair in pairs if pair[1].correct and not pair[0].correct)
    both = sum(bool(mine.correct and other.correct) for mine, other in pairs)
    neither = len(pairs) - both - len(won) - len(lost)
    counts, needed = (len(won), len(lost)), items_needed(len(won), len(lost), len(pairs))
    groups = _groups(pairs)
    if groups is None:
        return Contest(won, lost, both, neither, mcnemar(*counts), needed)
    nets = Counter(dict.fromkeys(groups, 0))
    for own, (mine, other) in zip(groups, pairs, strict=True):
        nets[own] += int(bool(mine.correct)) - int(bool(other.correct))
    if needed is not None:  # what goes together says as much less
        needed = math.ceil(needed * max(1.0, sum(net * net for net in nets.values()) / sum(counts)))
    return Contest(won, lost, both, neither, swapped(list(nets.values())), needed, len(nets))


def difference(metric: Metric, a: Sequence[Marked], b: Sequence[Marked], labels: Sequence[str] = (), *, seed: int) -> Difference:
    """By the kept answers, each against its row's references. Raises BadInput when the two have no item in common."""
    pairs = _pairs(a, b)
    references = [(first.reference, *first.others) for first, _ in pairs]
    theirs, ours = (metric.statistics(told_again(metric, [pair[side] for pair in pairs]), references, labels) for side in (0, 1))
    if groups := _groups(pairs):
        theirs, ours = by_group(theirs, groups), by_group(ours, groups)
    return Difference(metric.name, *paired_bootstrap(theirs, ours, metric.combine, seed=seed, resamples=RESAMPLES), len(pairs))


def refuse_other_rows(a: Sequence[Marked], b: Sequence[Marked]) -> None:
    """Raises BadInput where an item of one id is not the same row in both: ids are no more than numbers."""
    for mine, theirs in _pairs(a, b):
        if (mine.input, mine.reference, mine.others) != (theirs.input, theirs.reference, theirs.others):
            said = f"the two were measured on different rows: item {mine.id} is not the same in both"
            raise BadInput(said, "compare rungs of one run, or runs of one task")


def _pairs(a: Sequence[Marked], b: Sequence[Marked]) -> list[tuple[Marked, Marked]]:
    theirs = {marked.id: marked for marked in b}
    pairs = [(mine, theirs[mine.id]) for mine in a if mine.id in theirs]
    if not pairs:
        raise BadInput("the two have no item in common", "compare variants that were measured on the same rows")
    return pairs


def _groups(pairs: Sequence[tuple[Marked, Marked]]) -> list[str] | None:
    """The group of each item; None where no two are of one."""
    groups = [mine.group or mine.id for mine, _ in pairs]
    return groups if len(set(groups)) < len(groups) else None
