"""Two variants on the same items: how far apart they are, which each got right alone, and whether that could be chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import Metric
from tuneladder.evaluate.intervals import items_needed, mcnemar, paired_bootstrap
from tuneladder.evaluate.measure import told_again
from tuneladder.types import Marked

RESAMPLES = 10_000  # the smallest p that so many can give is 0.0002: of 100 comparisons corrected together one may still be told


@dataclass(frozen=True)
class Contest:
    """a against b, each pair of answers as (a's, b's). `p` is McNemar's exact two-sided p; `needed` how many items would tell the
    two apart, if they differ as they do on these (80 % power at 0.05), None where neither won more."""

    won: tuple[tuple[Marked, Marked], ...]
    lost: tuple[tuple[Marked, Marked], ...]
    both: int
    neither: int
    p: float
    needed: int | None


@dataclass(frozen=True)
class Difference:
    """How much higher a metric is in b than in a on the same rows, with its 95 % interval and two-sided p (paired bootstrap)."""

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
    counts = len(won), len(lost)
    return Contest(won, lost, both, neither, mcnemar(*counts), items_needed(*counts, len(pairs)))


def difference(metric: Metric, a: Sequence[Marked], b: Sequence[Marked], labels: Sequence[str] = (), *, seed: int) -> Difference:
    """By the kept answers, each against its row's references. Raises BadInput when the two have no item in common."""
    pairs = _pairs(a, b)
    references = [(first.reference, *first.others) for first, _ in pairs]
    theirs, ours = (metric.statistics(told_again(metric, [pair[side] for pair in pairs]), references, labels) for side in (0, 1))
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
