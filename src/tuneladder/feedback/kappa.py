"""Kappas: Cohen's of two labelers, Fleiss' of as many judgements on every item."""

from __future__ import annotations

import numpy as np

from tuneladder.errors import BadInput
from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.table import Table, Whole


def cohen(a: Whole, b: Whole) -> float:
    """Agreement of two labelers on the same N items beyond what their own shares of values give by chance (Cohen 1960). nan where
    both said one thing throughout."""
    assert len(a) == len(b) > 0
    most = int(max(a.max(), b.max())) + 1
    by_chance = float((np.bincount(a, minlength=most) / len(a)) @ (np.bincount(b, minlength=most) / len(b)))
    return float("nan") if by_chance == 1 else (float((a == b).mean()) - by_chance) / (1 - by_chance)


def fleiss(counts: Array) -> float:
    """Fleiss 1971, of counts (I, K) with n judgements on every item. Raises BadInput where the items differ in that."""
    said = counts.sum(1)
    if said.min() != said.max() or said.min() < 2:
        low, high = int(said.min()), int(said.max())
        raise BadInput(f"Fleiss' kappa wants as many judgements on every item, and they have {low} to {high}", "alpha does not")
    each = said[0]
    agreed = float(((counts * (counts - 1)).sum(1) / (each * (each - 1))).mean())
    by_chance = float(((counts.sum(0) / counts.sum()) ** 2).sum())
    return float("nan") if by_chance == 1 else (agreed - by_chance) / (1 - by_chance)


def pairwise(table: Table, *, at_least: int = 10) -> float | None:
    """The mean of Cohen's kappa over the pairs of labelers that share so many items, each weighed by how many; None of no pair."""
    where = np.full((len(table.labelers), len(table.items)), -1, dtype=np.int64)
    where[table.labeler, table.item] = table.value
    judged = (where >= 0).astype(np.float64)
    shared = np.triu(judged @ judged.T, k=1)
    total = weight = 0.0
    for one, other in np.argwhere(shared >= at_least):
        both = (where[one] >= 0) & (where[other] >= 0)
        found = cohen(where[one, both], where[other, both])
        if found == found:
            total, weight = total + shared[one, other] * found, weight + shared[one, other]
    return float(total / weight) if weight else None
