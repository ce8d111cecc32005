"""One value of many: by majority, and by the mean, with how severe each labeler is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tuneladder.evaluate.intervals import Array
from tuneladder.feedback.table import Table

ROUNDS = 200  # of fitting items and severities in turn


@dataclass(frozen=True)
class Majority:
    """`value` is the commonest of each item, the first of those that are tied; `share` (I,) is its share, `tied` the items where
    others are as common."""

    value: tuple[str, ...]
    share: Array
    tied: tuple[str, ...]


@dataclass(frozen=True)
class Means:
    """`mean` (I,) as the numbers stand, `adjusted` (I,) as if all were equally severe; `severity` (L,) how far a labeler's numbers
    lie below (negative) or above `adjusted`, which they are part of; `above` (L,) how far they lie above those of the others on the
    same items, `doubt` (L,) its standard error; `rest` (N,) what neither item nor labeler explains."""

    mean: Array
    adjusted: Array
    severity: Array
    above: Array
    doubt: Array
    rest: Array


def majority(table: Table) -> Majority:
    counts = table.counts
    most = counts.max(1)
    tied = tuple(item for item, several in zip(table.items, (counts == most[:, None]).sum(1) > 1) if several)
    return Majority(tuple(table.values[k] for k in counts.argmax(1)), most / counts.sum(1), tied)


def means(table: Table) -> Means:
    """Of a score: number = item + labeler, by least squares, each fitted in turn to what the other leaves. Who judged one item
    tells nothing of how severe they are, and counts as like the others: else items that such people judged would have no mean."""
    said, item, labeler = table.said, table.item, table.labeler
    by_item, by_labeler = np.bincount(item), np.bincount(labeler)
    mean, several = np.bincount(item, said) / by_item, by_labeler > 1
    adjusted, severity = mean, np.zeros(len(by_labeler))
    for _ in range(ROUNDS):
        before = severity
        severity = np.bincount(labeler, said - adjusted[item]) / by_labeler
        severity = np.where(several, severity - np.average(severity, weights=by_labeler * several + 1e-12), 0.0)
        adjusted = np.bincount(item, said - severity[labeler]) / by_item
        if np.abs(severity - before).max() < 1e-10:
            break
    rest = said - adjusted[item] - severity[labeler]
    free = max(1, len(said) - len(by_item) - len(by_labeler) + 1)
    # a labeler's own spread, and where there is little of it the whole's: one lucky item makes nobody certain
    whole = float((rest**2).sum() / free)
    own = (np.bincount(labeler, rest**2) * len(said) / free + whole) / (by_labeler + 1)
    # severities are 0 in the mean, so the others' are a labeler's own turned round, shared among their judgements
    apart = len(said) / np.maximum(len(said) - by_labeler, 1)
    return Means(mean, adjusted, severity, severity * apart, np.sqrt(own / by_labeler) * apart, rest)
