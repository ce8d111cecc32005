"""How far each judgement is what the others say of its item."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array, Z, wilson
from tuneladder.feedback.aggregate import Means, means
from tuneladder.feedback.dawid_skene import DawidSkene, dawid_skene, without
from tuneladder.feedback.table import Table, Whole
from tuneladder.types import Score


@dataclass(frozen=True)
class Others:
    """What all but its own labeler say of a judgement's item. Of words: `right` (N, K), how likely each value is right by Dawid and
    Skene. Of scores: `mean` (N,) as if all were equally severe, nan where nobody else judged the item."""

    fit: DawidSkene | None = None
    right: Array | None = None
    means: Means | None = None
    mean: Array | None = None


def others(table: Table, *, scored: bool) -> Others:
    if not scored:
        fit = dawid_skene(table)
        return Others(fit=fit, right=without(table, fit))
    found = means(table)
    fair = table.said - found.severity[table.labeler]
    count = np.bincount(table.item)
    left = count[table.item] - 1
    rest = (count * found.adjusted)[table.item] - fair
    return Others(means=found, mean=np.where(left > 0, rest / np.maximum(left, 1), np.nan))


def accord(table: Table, heard: Others, labeler: int) -> Score | None:
    """A labeler's agreement with the others beyond chance: 1 is perfect, 0 what their shares of values give by themselves. Of words
    kappa with what is likely right, of scores Lin's concordance (1989, Biometrics 45), the labeler's severity taken away: how
    severe somebody is stands beside it. None where there is too little to say."""
    at = table.by(labeler)
    if heard.right is not None:
        return _kappa(table, heard.right, at)
    assert heard.mean is not None
    assert heard.means is not None
    at = at[~np.isnan(heard.mean[at])]
    return _concordance(table.said[at] - heard.means.severity[labeler], heard.mean[at])


def share(hits: Array, source: Whole) -> Score:
    """The share of hits (n,), with Wilson's interval. `source` (n,): hits of one number, pairs of one ranking, were not judged each
    for itself: they count as so many as have the variance that their sums by number have, and `count` is of numbers."""
    _, at = np.unique(source, return_inverse=True)
    own = np.bincount(at)
    value, many, count = float(hits.mean()), len(hits), len(own)
    worth, plain = count, value * (1 - value)
    if 1 < count < many and plain > 1e-12:
        off = np.bincount(at, hits) - value * own
        spread = count / (count - 1) * float((off**2).sum()) / many**2
        # and beside them one more that is worth one hit each, as few sums may lie near each other by luck
        worth = max(1, min(many, round(plain * (count + 1) / (count * spread + plain / count))))
    return Score(value, *wilson(value * worth, worth), count, "Wilson")


def _kappa(table: Table, right: Array, at: Whole) -> Score | None:
    own = np.bincount(table.value[at], minlength=len(table.values)) / len(at)
    by_chance = float(own @ right[at].mean(0))
    agreed = share(right[at, table.value[at]], table.source[table.item[at]])
    if (1 - by_chance) * agreed.count < 1:  # chance alone would not have differed once: nothing is beyond it
        return None
    value, low, high = ((each - by_chance) / (1 - by_chance) for each in (agreed.value, agreed.low, agreed.high))
    return Score(value, low, high, agreed.count, "Wilson's, beyond chance")


def _concordance(own: Array, theirs: Array) -> Score | None:
    if len(own) < 4:
        return None
    spread = own.var() + theirs.var() + (own.mean() - theirs.mean()) ** 2
    if spread < 1e-12:
        return None
    value = float(2 * ((own - own.mean()) * (theirs - theirs.mean())).mean() / spread)
    middle, half = np.arctanh(np.clip(value, -0.9999, 0.9999)), Z / np.sqrt(len(own) - 3)
    return Score(value, float(np.tanh(middle - half)), max(value, float(np.tanh(middle + half))), len(own), "Fisher's z")
