"""Krippendorff's alpha: how far labelers agree beyond chance, whatever their number, with judgements missing.

Krippendorff 2011, Computing Krippendorff's Alpha-Reliability. An item of n_u judgements has n_u (n_u - 1) pairs, each weighed by
1 / (n_u - 1), so that every judgement counts once; the squared distance of two values depends on the level.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array, Combine, bootstrap
from tuneladder.feedback.table import Whole
from tuneladder.types import Score

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
RELIABLE, TENTATIVE = 0.8, 0.667  # Krippendorff's own marks: to rely on, and for tentative conclusions


def alpha(
    counts: Array, level: Level, number: Array | None = None, *, group: Whole | None = None, seed: int = 0, resamples: int = 1000
) -> Score:
    """1 where all agree, 0 where they agree as by chance, with its interval over items drawn anew. counts (I, K): how many said
    each value, in their order; `number` (K,) what they count as, for `interval`; items of one `group` (I,) are drawn together.

    Ordinal distances are those of the ranks in all items, also where items are drawn. Raises BadInput where no item was judged
    twice, and where all said the same, of which there is no chance to correct for.
    """
    judged, statistics, combine = sums_of(counts, level, number)
    value = float(combine(statistics.sum(0, keepdims=True))[0])
    if group is not None:
        _, at = np.unique(group[judged], return_inverse=True)
        statistics = added_up(statistics, at)
    low, high = bootstrap(statistics, combine, seed=seed, resamples=resamples) if len(statistics) > 1 else (-1.0, 1.0)
    return Score(value, min(low, value), max(high, value), len(statistics), "bootstrap over items")


def sums_of(counts: Array, level: Level, number: Array | None) -> tuple[Whole, Array, Combine]:
    """The items that two or more judged, what each adds to alpha's sums, and what makes alpha of them. Raises as `alpha`."""
    judged = np.flatnonzero(counts.sum(1) >= 2)
    paired = counts[judged]
    if not len(paired):
        raise BadInput("no item was judged by two labelers: there is no agreement to measure", "ask two or more of some items")
    whole = paired.sum(0)
    if (whole > 0).sum() < 2:
        raise BadInput(f"all {int(whole.sum()):,} judgements are the same", "where nothing differs no agreement can be measured")
    if level == "nominal":
        return judged, _nominal(paired), _combine_nominal
    if level == "ordinal":
        return judged, _metric(paired, _ranks(whole)), _combine_metric
    assert number is not None
    return judged, _metric(paired, number), _combine_metric


def added_up(statistics: Array, at: Whole, rows: int | None = None) -> Array:
    """Rows (I, S) added up by their numbers (I,), into so many rows or as many as there are numbers."""
    found = np.zeros((int(at.max()) + 1 if rows is None else rows, statistics.shape[1]))
    np.add.at(found, at, statistics)
    return found


def _nominal(paired: Array) -> Array:
    """(I, 1 + K): an item's pairs that differ, and what was said of it."""
    said = paired.sum(1)
    differ = (paired * (said[:, None] - paired)).sum(1) / (said - 1)
    return np.column_stack([differ, paired])


def _combine_nominal(sums: Array) -> Array:
    values = sums[:, 1:]
    said = values.sum(1)
    return _beyond(sums[:, 0], (said**2 - (values**2).sum(1)) / (said - 1))


def _metric(paired: Array, number: Array) -> Array:
    """(I, 4): an item's squared distances over its pairs, and the count, sum and sum of squares of what was said of it."""
    number = (number - number.mean()) / (np.ptp(number) or 1.0)  # alpha knows no unit; small numbers keep their digits
    said, first, second = paired.sum(1), paired @ number, paired @ number**2
    return np.column_stack([2 * (said * second - first**2) / (said - 1), said, first, second])


def _combine_metric(sums: Array) -> Array:
    differ, said, first, second = sums.T
    return _beyond(differ, 2 * (said * second - first**2) / (said - 1))


def _beyond(observed: Array, expected: Array) -> Array:
    """1 less observed over expected; what was drawn without any difference in it is no evidence of agreement, and counts as 0."""
    varied = expected > 1e-12
    return np.where(varied, 1 - observed / np.where(varied, expected, 1.0), 0.0)


def _ranks(whole: Array) -> Array:
    """Between two values lie all that were said between them, and half of their own: the distance of their mean ranks."""
    return np.asarray(np.cumsum(whole) - whole / 2)
